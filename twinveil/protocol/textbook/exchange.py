"""One query's way between the clouds: messages, and each garbled step once, in the plan's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinveil.errors import OutOfOrder
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarbledStep, GarblerSide
from twinveil.protocol.textbook.wide import Bits
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Ask
from twinveil.rpc import rounds_pb2 as pb


class Exchange(SingleUse):
    """S1's way to S2 in one query: asks, and hands out each garbled step once, in order."""

    def __init__(self, ask: Ask, ot: ExtensionSender, garblers: Iterator[GarblerSide]) -> None:
        self.ask = ask
        self._ot = ot
        self._garblers = garblers

    def garbled(self, inputs: Mapping[str, Bits], corrections: bytes) -> pb.Round:
        garbler = next(self._garblers, None)
        if garbler is None:
            raise OutOfOrder("the plan has no further circuit")
        return pb.Round(garbled_batch=garbler.send(self._ot, inputs, corrections))


class Circuits(SingleUse):
    """S2's circuits of one query, each handed out once, in the plan's order."""

    def __init__(
        self, steps: Iterator[GarbledStep], ot: ExtensionReceiver, observer: Observer = NOBODY
    ) -> None:
        self._steps = steps
        self._ot = ot
        self._observer = observer

    def next(self) -> EvaluatorSide:
        step = next(self._steps, None)
        if step is None:
            raise OutOfOrder("the plan has no further circuit")
        return EvaluatorSide(step, self._ot, self._observer)
