"""docs/cost.md says what `twinveil estimate` prints, and its formulas of an item and an import are right."""

from __future__ import annotations

from collections import Counter
from math import ceil, log2
from pathlib import Path

import pytest

from tests.networks import random_model
from together.bench.networks import default_plan
from twinveil.crypto.native.tables import exponentiation_counts
from twinveil.crypto.tally import MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2, Tally
from twinveil.estimate.bounds import bounds
from twinveil.estimate.cost import total
from twinveil.estimate.packed import item_costs
from twinveil.estimate.query import ahead, estimate, import_cost, online
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.plan import ItemPlan

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
HEAD = "| an item of the default network at 2048 bits | ours | best known | ratio |"
PLANS = [default_plan(), *(random_model(seed).plan for seed in range(4))]


def test_how_far_from_the_best() -> None:
    lines = PAGE.read_text().splitlines()
    start = lines.index(HEAD) + 2
    found = lines[start : lines.index("", start)]
    assert found == [
        f"| {bound.what} | {bound.ours:,} | {bound.best:,} | {bound.ratio:.2f} |"
        for bound in bounds(ItemLayout(default_plan(), 2048))
    ]


def test_what_goes_between_the_clouds() -> None:
    plan, seen = default_plan(), dict[str, list[str]]()
    for params in map(Params, (2048, 3072)):
        costs = estimate(plan, params)
        parts = {
            "an import": import_cost(plan, params, "packed"),
            "an item": total(ahead(costs, "packed")),
            "a picture": total(online(costs, "packed")),
        }
        for name, cost in parts.items():
            seen[name] = [*seen.get(name, []), f"{cost.bytes:,}; {cost.messages}"]
    text = PAGE.read_text()
    for name, cells in seen.items():
        assert f"| {name}, bytes; messages | {' | '.join(cells)} |" in text


def test_nothing_is_better_than_the_best() -> None:
    for plan in PLANS:
        for bound in bounds(ItemLayout(plan, 2048)):
            assert bound.ratio >= 1 or bound.what.startswith("multiplications")


@pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
def test_operations_of_an_item(plan: Plan) -> None:
    """The page's table of S1, and the slots that it rests on."""
    key_bits, layout = 2048, ItemLayout(plan, 2048)
    made, sums = Counter({MODMUL_N2_HALF: layout.encryptions}), 0
    for layer in layout.layers.values():
        geometry, ring, kernel = layer.geometry, layer.ring, layer.kernel
        width = 2 * ring + ceil(log2(geometry.taps)) + 1
        slots = (key_bits - 1 - layout.margin) // width
        assert (layer.slots.bits, layer.slots.count) == (width, slots)
        tiles, chunks = kernel.reads.shape[1], kernel.chunks
        made[MODMUL_N2_HALF] += chunks * tiles * ring * (max(2, ceil(kernel.bases / 8)) - 1)
        made[SQUARE_N2] += chunks * tiles * (ring - 1)
        made[MODMUL_N2] += chunks * tiles * (2 * ring - 1)
        sums += chunks * tiles
        for block in layer.inputs.blocks:
            folds = geometry.channels - ceil(geometry.channels / min(slots // block.size, geometry.channels))
            made.update(exponentiation_counts(len(block.taps), geometry.channels, ring))
            made.update({SQUARE_N2: folds * width * block.size, MODMUL_N2: folds})
            sums += geometry.channels - folds
    assert sums == layout.sums
    assert ceil(log2(sums)) == layout.margin - 64
    made[MODMUL_N2_HALF] += sums * (ceil((key_bits + layout.margin) / 8) - 1)
    made[MODMUL_N2] += 3 * sums
    made.update({"mul_n": sums, "inverse_n": 1})
    assert item_costs(ItemPlan(layout))["SMP"].s1 == Tally(made)
