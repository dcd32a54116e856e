"""The formulas of docs/cost.md, written out once more, give what `estimate` counts."""

from __future__ import annotations

from math import ceil

import pytest

from tests.crypto_keys import toy
from tests.networks import random_model, small_icnn_model
from twinveil.blinding import picture_segment
from twinveil.crypto.multiexp_schedule import Buckets, Tables
from twinveil.crypto.tally import MODMUL_N2, MODMUL_N2_HALF, POWER_N2, POWER_P2, SQUARE_N2
from twinveil.estimate.query import estimate
from twinveil.plan import Plan
from twinveil.protocol.packed.layout import PackedLayout

PLANS = [*(random_model(seed).plan for seed in range(4)), small_icnn_model(1).plan]


@pytest.fixture(params=PLANS, ids=range(len(PLANS)))
def plan(request: pytest.FixtureRequest) -> Plan:
    found: Plan = request.param
    return found


@pytest.mark.parametrize("bits", [512, 1024])
def test_packed(plan: Plan, bits: int) -> None:
    costs = estimate(plan, toy(bits))
    layers = PackedLayout(plan, bits, 40).layers.values()
    full = ceil((bits + 64) / 8)
    made = sum(layer.ahead_sums for layer in layers)
    online = sum(layer.online_sums for layer in layers)
    taps = sum(int(layer.tap_blocks.sum()) for layer in layers)

    ahead = costs["ahead"]
    half = squares = whole = 0
    for layer in layers:
        bases = layer.kernel_slots.shape[1]
        half += layer.ahead_sums * layer.bits * (ceil(bases / 8) - 1)
        squares += layer.ahead_sums * (layer.bits - 1)
        whole += layer.ahead_sums * (layer.bits + 1)
    assert ahead.s1[MODMUL_N2_HALF] == half + (made + online) * (full - 1)
    assert ahead.s1[SQUARE_N2] == squares
    assert ahead.s1[MODMUL_N2] == whole + (made + online) + 2 * made
    assert ahead.s2[MODMUL_N2_HALF] == 31 * taps + 2 * made
    assert ahead.s2[MODMUL_N2] == taps
    assert ahead.s2[POWER_P2] == 2 * (made + 1)

    p = picture_segment(plan, 1, key_bits=bits, sigma=40).plaintexts
    imported = costs["import"]
    assert imported.s1[POWER_N2] == p
    assert (imported.s1[MODMUL_N2_HALF], imported.s1[MODMUL_N2]) == (p * full, 3 * p)
    assert (imported.s2[POWER_P2], imported.s2[MODMUL_N2_HALF]) == (2 * (p + 1), 33 * p)

    linear = [costs[name] for name in ("SCVL", "SCT") if name in costs]
    assert sum(cost.s2[MODMUL_N2] for cost in linear) == taps
    stages = sum(1 for stage in PackedLayout(plan, bits, 40).schedule.stages if stage.linear)
    assert sum(cost.s2[POWER_P2] for cost in linear) == 2 * (online + stages)


@pytest.mark.parametrize(("bases", "outputs", "bits"), [(480, 8, 21), (7, 16, 19), (1000, 3, 20)])
def test_schedules(bases: int, outputs: int, bits: int) -> None:
    buckets = Buckets((4, *((bits - 4) // 5 * (5,)), *((rest,) if (rest := (bits - 4) % 5) else ())))
    windows, counts = buckets.windows, buckets.counts(bases, outputs, bits)
    raised = sum(2 * (size - 1) for size in buckets.sizes(bits))
    assert counts[MODMUL_N2_HALF] == outputs * len(windows) * bases
    assert counts[SQUARE_N2] == outputs * (bits - windows[0])
    assert counts[MODMUL_N2] == outputs * (raised + len(windows))

    tables = Tables(group=3, window=2)
    counts, steps = tables.counts(bases, outputs, bits), ceil(bits / 2)
    assert counts[MODMUL_N2_HALF] == outputs * steps * (ceil(bases / 3) - 1)
    assert counts[SQUARE_N2] == outputs * (steps - 1) * 2
    assert counts[MODMUL_N2] == outputs * steps
