"""Halves of circuits made ahead serve once, and refuse what does not fit them."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import numpy as np
import pytest

from tests.garbling.garbled import session
from tests.garbling.halves import Inputs, Values, activation, halves, offered, product
from twinveil.errors import AlreadyUsed, InvalidMessage, OutOfOrder
from twinveil.garbling.ahead import Offer
from twinveil.garbling.gates import Gates, Wires
from twinveil.ring import packed_bytes


def test_each_half_serves_once() -> None:
    circuit = activation(5, (3,), 0, 4, 7)
    made, held = halves(circuit)
    answer = made.answer(held.drawn)
    with pytest.raises(AlreadyUsed):
        made.answer(held.drawn)
    with pytest.raises(AlreadyUsed):
        made.offer()
    held.open(answer)
    with pytest.raises(AlreadyUsed):
        held.open(answer)


def test_labels_that_leave_twice_tell_the_offset() -> None:
    """What the rule is for: a half that forgets that it has answered."""
    made, _ = halves(activation(5, (3,), 0, 4, 7))
    zeros = made._zeros
    first = made.answer({"y": np.zeros(3, np.uint64)})
    made._zeros = zeros
    second = made.answer({"y": np.full(3, 31, np.uint64)})
    assert first != second
    told = np.frombuffer(first, np.uint64).reshape(-1, 2) ^ np.frombuffer(second, np.uint64).reshape(-1, 2)
    np.testing.assert_array_equal(told, np.broadcast_to(made._delta, told.shape))


def test_a_half_keeps_no_more_than_it_needs() -> None:
    """16 bytes a bit and the masks, once its tables are out; the masks, once it has answered."""
    made, held = halves(product(3000, 20))
    assert sum(len(part) for part in held_by(made)) <= 17 * 8 * 3000 + 8 * 3000
    made.answer(held.drawn)
    assert sum(len(part) for part in held_by(made)) <= 8 * 3000 + 16


def test_a_half_that_got_a_wrong_answer_is_used_up() -> None:
    made, held = halves(activation(5, (3,), 0, 4, 7))
    answer = made.answer(held.drawn)
    with pytest.raises(InvalidMessage, match="instead of"):
        held.open(answer[:-1])
    with pytest.raises(AlreadyUsed):
        held.open(answer)


def held_by(half: object) -> list[bytes]:
    """The bytes of all arrays and strings that a half holds."""
    found: list[bytes] = []

    def walk(value: object) -> None:
        if isinstance(value, np.ndarray):
            found.append(value.tobytes())
        elif isinstance(value, bytes):
            found.append(value)
        elif isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, tuple):
            for each in value:
                walk(each)

    walk(vars(half))
    return found


@pytest.mark.parametrize("secret", halves(activation(5, (3,), 0, 4, 7)))
def test_halves_are_neither_copied_nor_pickled_nor_shown(secret: object) -> None:
    assert repr(secret) == f"{type(secret).__name__}(...)"
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(secret)


def test_transfers_are_taken_in_order_and_once() -> None:
    circuit = activation(5, (3,), 0, 4, 7)
    receiver, sender = session(circuit.transfers + 3)
    offer = circuit.garble(sender).offer()
    circuit.hold(offer, receiver)
    assert sender.available == receiver.available == 3
    with pytest.raises(OutOfOrder):
        circuit.garble(sender)
    with pytest.raises(OutOfOrder):
        circuit.hold(offer, receiver)


@pytest.mark.parametrize("part", Offer._fields)
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b + b])
def test_any_other_size_of_an_offer_is_refused_and_takes_no_transfer(part: str, change: Any) -> None:
    circuit = activation(5, (3,), 0, 4, 7)
    receiver, sender = session(circuit.transfers)
    offer = circuit.garble(sender).offer()
    with pytest.raises(InvalidMessage, match=f"the circuit's {part} have"):
        circuit.hold(offer._replace(**{part: change(getattr(offer, part))}), receiver)
    assert receiver.available == circuit.transfers


@pytest.mark.parametrize("part", [*Offer._fields, "answer"])
def test_any_content_gives_some_output(part: str) -> None:
    circuit = activation(5, (3,), 0, 4, 7)
    for fill in (bytes, os.urandom, lambda size: b"\xff" * size):
        receiver, sender = session(circuit.transfers)
        made = circuit.garble(sender)
        offer, answer = made.offer(), made.answer({"y": np.zeros(3, np.uint64)})
        if part == "answer":
            answer = fill(len(answer))
        else:
            offer = offer._replace(**{part: fill(len(getattr(offer, part)))})
        opened = circuit.hold(offer, receiver).open(answer)
        assert {name: share.shape for name, share in opened.items()} == {
            "x": (3,),
            "total": (3,),
            "sign": (3,),
        }


def test_sizes_are_known_before() -> None:
    circuit = activation(9, (2, 3), 1, 8, 13)
    made, offer, held = offered(circuit)
    assert tuple(len(part) for part in offer) == circuit.offer_bytes
    assert circuit.offer_bytes == (
        16 + 32 * circuit.counts.and_gates,
        16 * 54,
        packed_bytes(8 * 6, 13) + packed_bytes(9 * 6, 9),
    )
    assert len(made.answer(held.drawn)) == circuit.answer_bytes == 16 * 54
    assert circuit.transfers == 54


@pytest.mark.parametrize(
    "masked",
    [{}, {"x": np.zeros(3, np.uint64)}, {"y": np.zeros(2, np.uint64)}, {"y": np.zeros(3), "x": np.zeros(3)}],
)
def test_wrong_inputs_are_refused_and_nothing_leaves(masked: Values) -> None:
    made, held = halves(activation(5, (3,), 0, 4, 7))
    with pytest.raises(InvalidMessage):
        made.answer(masked)
    assert held.open(made.answer(held.drawn))


def test_a_program_that_changes_its_mind_is_refused() -> None:
    circuit = activation(5, (3,), 0, 4, 7)
    receiver, sender = session(2 * circuit.transfers)
    made = circuit.garble(sender)
    held = circuit.hold(made.offer(), receiver)

    def lazy(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return {"x": masked["y"][:4], "total": masked["y"], "sign": masked["y"][:1]}

    answer = made.answer(held.drawn)
    circuit.program = lazy
    with pytest.raises(InvalidMessage, match="fewer gates"):
        circuit.garble(sender)
    with pytest.raises(InvalidMessage, match="fewer gates"):
        held.open(answer)
