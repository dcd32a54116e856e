"""One garbled step between the clouds: S1 garbles and knows the masks, S2 evaluates on what it decrypted.

    S1             garbles, ahead of everything
    S2 -> S1       corrections   its choice bits, each flipped by a precomputed random bit
    S1 -> S2       tables, S1's labels, both labels of each of S2's bits under the pads, decode bits
    S2             output bits, all of them under S1's fresh masks

S1 learns nothing (it sees uniform bits); S2 learns its outputs, which the programs mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from twinveil.errors import OutOfOrder
from twinveil.garbling.circuit import Counts, Program, Shapes, count, flatten
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.garbler import garble
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.textbook.wide import Bits
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rpc import rounds_pb2 as pb


class GarbledStep:
    """The public description of a garbled step: what both sides know before it."""

    def __init__(self, program: Program, garbler: Shapes, evaluator: Shapes) -> None:
        self.program = program
        self.garbler = dict(garbler)
        self.evaluator = dict(evaluator)

    @cached_property
    def counts(self) -> Counts:
        return count(self.program, self.garbler, self.evaluator)

    @property
    def choices(self) -> int:
        """Oblivious transfers that the step uses: one for each of S2's input bits."""
        return self.counts.evaluator_bits


class GarblerSide(SingleUse):
    """S1's half of one step. Single use."""

    def __init__(self, step: GarbledStep) -> None:
        self._garbling = garble(step.program, step.garbler, step.evaluator, step.counts)

    def send(self, ot: ExtensionSender, inputs: Mapping[str, Bits], corrections: bytes) -> pb.GarbledBatch:
        """Raises AlreadyUsed on a second call, InvalidMessage for corrections of another size."""
        garbling = self._garbling
        return pb.GarbledBatch(
            garbler_labels=garbling.garbler_labels(inputs),
            masked_labels=ot.send(garbling.evaluator_pairs(), corrections),
            tables=garbling.tables,
            decode=garbling.decode,
        )


class EvaluatorSide(SingleUse):
    """S2's half of one step. Single use."""

    def __init__(self, step: GarbledStep, ot: ExtensionReceiver, observer: Observer = NOBODY) -> None:
        self._step = step
        self._ot = ot
        self._observer = observer
        self._chosen = False

    def choose(self, inputs: Mapping[str, Bits]) -> bytes:
        """Corrections for S1, in the circuit's wire order."""
        if self._chosen:
            raise OutOfOrder("the inputs of this step are already chosen")
        self._chosen = True
        return self._ot.correct(flatten(self._step.evaluator, inputs))

    def evaluate(self, batch: pb.GarbledBatch) -> dict[str, Bits]:
        step = self._step
        labels = self._ot.receive(batch.masked_labels)
        outputs = evaluate(
            step.program,
            step.garbler,
            step.evaluator,
            tables=batch.tables,
            garbler_labels=batch.garbler_labels,
            evaluator_labels=labels,
            decode=batch.decode,
            counts=step.counts,
        )
        self._observer.evaluated(outputs)
        return outputs
