"""What an engine is: one interface for both ways to compute the same plan.

The skeleton of a query (query/s1.py, query/s2.py) is the same for every engine; an engine brings the
published functions SCVL, SACT, SMAP, SCT over its own representation of encrypted tensors. S1's methods
drive; S2's are generators that are sent S1's requests and yield the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

from twinveil.errors import OutOfOrder
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.network.schedule import Stage
from twinveil.protocol.garbled import EvaluatorSide, GarbledStep, GarblerSide
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.wide import Bits
from twinveil.ring import Words
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress

Ask = Callable[[pb.Round], pb.Round]
"""S1's way to S2: one message, one answer."""

Dialogue = Generator[pb.Round, pb.Round, pb.Round]
"""S2's part of some steps: yields replies, is sent requests, returns the request that it does not answer."""


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


class EngineS1(Protocol):
    """S1's half of an engine, for one query; single use. Functions book their cost, tell their progress."""

    def prepare(self) -> bytes:
        """What does not depend on the picture, masked for S2; may be empty."""

    def picture_masks(self) -> Mapping[str, Bits]:
        """Garbler's inputs mask.* of the import of the picture."""

    def accept(self, reply: pb.EncryptedShares) -> None:
        """S2's first encrypted shares, after the import."""

    def scvl(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]: ...

    def sact_smap(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]: ...

    def sct(self, exchange: Exchange, stage: Stage) -> Generator[Progress, None, tuple[pb.Round, Words]]:
        """The class vector: S2's reply to it, masked, and S1's masks (classes, pictures)."""


class EngineS2(Protocol):
    """S2's half of an engine, for one query; single use."""

    def prepare(self, masked_sums: bytes) -> None: ...

    def accept(self, values: Mapping[str, Bits]) -> pb.EncryptedShares:
        """Outputs of the picture's import circuit -> the first encrypted shares."""

    def stage(self, circuits: Circuits, stage: Stage, request: pb.Round) -> Dialogue:
        """SCVL, SACT, SMAP."""

    def sct(
        self, circuits: Circuits, stage: Stage, request: pb.Round
    ) -> Generator[pb.Round, pb.Round, Words]:
        """The masked class vector (classes, pictures), from a request that is left to be answered."""
