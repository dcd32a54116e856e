"""No u for two tensors, no mask for two plaintexts, e opened once; draws of full width, fresh each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from gmpy2 import mpz

from tests.networks import random_image
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Ledger, Patch, exact, made
from twinveil.network import oracle
from twinveil.network.plan import IMAGE
from twinveil.protocol.packed import masking
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.protocol.packed.plan import ItemPlan, Values, unpack_turns
from twinveil.ring import Words, modulo, uniform

pytestmark = pytest.mark.slow


def shared_draws(ledger: Ledger) -> set[str]:
    found = set()
    # Of the first five values the low bits, which every modulus keeps; smaller tensors may agree by chance.
    rows = [values.reshape(-1)[:5] & np.uint64(0xFF) for values in ledger.u if values.size > 4]
    if len({row.tobytes() for row in rows}) < len(rows):
        found.add("one u for two tensors")
    masks = [mask for _, drawn in ledger.masks for mask in drawn]
    if len(set(masks)) < len(masks):
        found.add("one mask for two plaintexts")
    return found


def opened_twice(plan: ItemPlan) -> list[str]:
    pieces = plan.layout.schedule.pieces
    turns = [plan.turn(index, True)[: None if index else 0] for index in range(len(plan.stages))]
    counts = Counter(each.name for turn in turns for each in turn if each.name in pieces)
    return [name for name, count in counts.items() if count > 1]


def test_every_tensor_has_a_u_and_every_plaintext_a_mask(clouds: Opened, monkeypatch: Patch) -> None:
    ledger, plan = made(clouds, monkeypatch), clouds.plan
    read = {name for step in plan.layout.steps for name in step.inputs}
    assert len(ledger.u) == len(read)
    assert sum(len(drawn) for _, drawn in ledger.masks) == plan.layout.sums
    assert len(ledger.masks) == 2 * len(plan.layout.layers)
    assert shared_draws(ledger) == set()
    assert opened_twice(plan) == []


def one_stock(patch: Patch) -> None:
    """u begins anew for every tensor."""
    stock = uniform((1 << 12,), 31)

    def again(shape: tuple[int, ...], bits: int) -> Words:
        return modulo(stock[: int(np.prod(shape))].reshape(shape), bits)

    patch.setattr(item_s2, "uniform", again)


def test_broken_with_one_u_for_all(clouds: Opened, monkeypatch: Patch) -> None:
    one_stock(monkeypatch)
    assert shared_draws(made(clouds, monkeypatch)) == {"one u for two tensors"}


def test_broken_with_one_mask_for_both_sums(clouds: Opened, monkeypatch: Patch) -> None:
    draw, kept = masking.draw, dict[int, list[mpz]]()

    def again(count: int, bits: int) -> list[mpz]:
        stock = kept.setdefault(bits, draw(100, bits))
        return stock[:count]

    monkeypatch.setattr(masking, "draw", again)
    assert shared_draws(made(clouds, monkeypatch)) == {"one mask for two plaintexts"}


def test_broken_where_e_is_opened_by_every_branch(clouds: Opened, monkeypatch: Patch) -> None:
    turn = ItemPlan.turn

    def again(self: ItemPlan, index: int, label_only: bool) -> list[Values]:
        read = {name for step in self.stages[index].linear for name in step.inputs}
        pieces = [self.layout.schedule.pieces[name] for name in read]
        opened = [Values(piece.name, piece.shape, piece.share_bits) for piece in pieces]
        return turn(self, index, label_only) + opened

    monkeypatch.setattr(ItemPlan, "turn", again)
    assert opened_twice(clouds.plan)


# S2 opens e = x - r - u, y2 - rho, (d xor m) xor rho: by its own r, y1, m S1 does not come back to x, y, d.


def known_to_s1(clouds: Opened) -> set[str]:
    """What S1 has in the clear of a picture, from S2's turns and what S1 holds."""
    image, plan = random_image(clouds.model.plan, 0), clouds.plan
    clouds.messages.clear()
    clouds.classify(image[None])
    trace, s1, found = oracle.trace(clouds.model, image), clouds.pictures_s1[-1], set()
    ((circuits, own),) = s1._items
    turns = [message.shared_turn.shares for message in clouds.messages if message.HasField("shared_turn")]
    for index, (shares, stage) in enumerate(zip(turns, plan.stages, strict=True)):
        (turn,) = unpack_turns(plan.turn(index, False), shares, 1)
        if IMAGE in turn and (turn[IMAGE] ^ s1._halves[0] == image).all():
            found.add("picture")
        for name in plan.stages[index - 1].outputs if index else ():
            bits = plan.layout.schedule.pieces[name].share_bits
            if (
                name in trace
                and (modulo(turn[name] + circuits[index - 1].masks[name], bits) == trace[name]).all()
            ):
                found.add("activations")
        for each in plan.sums(stage) if index + 1 < len(plan.stages) else ():
            sums = modulo(own[each.name].reshape(each.shape) + turn[each.name], each.bits)
            if (sums == modulo(trace[each.name].view(np.uint64), each.bits)).all():
                found.add("sums")
    return found


def test_s1_knows_nothing_of_what_is_opened(clouds: Opened) -> None:
    assert known_to_s1(clouds) == set()


def test_broken_without_u(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s2, "uniform", lambda shape, bits: np.zeros(shape, np.uint64))
    assert known_to_s1(clouds) == {"activations"}


@pytest.mark.parametrize(("stage", "finding"), [(0, "picture"), (1, "sums")])
def test_broken_without_rho(clouds: Opened, stage: int, finding: str) -> None:
    clouds.make_items(1)
    held = clouds.items_s2[0]._held
    assert held
    drawn = held[0][stage].drawn
    drawn.update({name: np.zeros_like(rho) for name, rho in drawn.items()})
    assert finding in known_to_s1(clouds)


# What is drawn, u, r and rho, takes all its bits, and no item has a draw of another's.


Draws = list[tuple[str, int, Words]]


def drawn(clouds: Opened) -> Draws:
    """Of one item: u of every tensor, r and rho of every circuit, each with its width."""
    clouds.make_items(1)
    (circuits, _), (held, u, _) = clouds.items_s1[-1].spend(), clouds.items_s2[-1].spend()
    plan = clouds.plan
    widths = {name: piece.share_bits for name, piece in plan.layout.schedule.pieces.items()}
    inputs = {node.name: node.accumulator_bits for node in plan.layout.plan.linear_nodes}
    inputs[IMAGE] = clouds.model.plan.image_bits
    found = [("u", widths[name], values) for name, values in u.items()]
    for half in circuits:
        found += [("r", widths[name], values) for name, values in half.masks.items() if name in widths]
    for each in held:
        found += [("rho", inputs[name], values) for name, values in each.drawn.items()]
    return [(what, bits, values.reshape(-1)) for what, bits, values in found if values.size >= 40]


def narrow_draws(draws: Draws) -> set[str]:
    """Where a bit is never or always set, or one is set above the width."""
    found = set()
    for what, bits, values in draws:
        ones, zeros = np.bitwise_or.reduce(values), np.bitwise_or.reduce(modulo(~values, bits))
        if {int(ones), int(zeros)} != {(1 << bits) - 1}:
            found.add(what)
    return found


def repeated(first: Draws, second: Draws) -> set[str]:
    pairs = zip(first, second, strict=True)
    return {what for (what, _, one), (_, _, other) in pairs if (one[:8] == other[:8]).all()}


def test_draws_take_all_their_bits_and_are_fresh(clouds: Opened) -> None:
    first, second = (drawn(clouds) for _ in range(2))
    assert {what for what, _, _ in first} == {"u", "r", "rho"}
    assert narrow_draws(first) == narrow_draws(second) == set()
    assert repeated(first, second) == set()


def test_broken_with_a_u_of_one_bit_less(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s2, "uniform", lambda shape, bits: uniform(shape, bits - 1))
    assert narrow_draws(drawn(clouds)) == {"u"}


def test_broken_with_the_same_u_for_every_item(clouds: Opened, monkeypatch: Patch) -> None:
    one_stock(monkeypatch)
    assert repeated(drawn(clouds), drawn(clouds)) == {"u"}


def test_broken_draws_would_not_be_seen_in_answers(clouds: Opened, monkeypatch: Patch) -> None:
    """Which is why they are looked at."""
    one_stock(monkeypatch)
    assert exact(clouds)
