"""Circuits made ahead, and both parties' halves of them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.garbling.garbled import session
from twinveil.garbling.ahead import Circuit, EvaluatorHalf, GarblerHalf, Offer
from twinveil.garbling.gadgets import add, relu_requantise
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.outputs import Integers

Inputs = Mapping[str, Wires]
Values = dict[str, Integers]


def halves(circuit: Circuit) -> tuple[GarblerHalf, EvaluatorHalf]:
    made, _, held = offered(circuit)
    return made, held


def offered(circuit: Circuit) -> tuple[GarblerHalf, Offer, EvaluatorHalf]:
    receiver, sender = session(circuit.transfers)
    made = circuit.garble(sender)
    offer = made.offer()
    return made, offer, circuit.hold(offer, receiver)


def activation(bits: int, batch: tuple[int, ...], shift: int, kept: int, width: int) -> Circuit:
    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        total = add(g, masked["y"], drawn["y"])
        return {"x": relu_requantise(g, total, shift, kept), "total": total, "sign": total[-1:]}

    return Circuit(program, {"y": (bits, *batch)}, {"x": width, "total": bits})


def product(size: int, width: int = 0, names: tuple[str, ...] = ("z",)) -> Circuit:
    """`size` bytes and-ed with rho, under each name; shared modulo 2^width, or flipped."""

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return dict.fromkeys(names, g.and_(masked["a"], drawn["a"]))

    return Circuit(program, {"a": (8, size)}, dict.fromkeys(names, width) if width else {})
