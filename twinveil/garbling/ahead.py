"""A circuit that is garbled, sent and labelled before any input is known.

    ahead    S2   rho random, by IKNP: q, t = q xor c s, rho = c
             S1   zero labels W = H(q) of S2's wires; garbles under its own fresh Delta; r falls out
             S1 -> S2   Offer: tables; H(q) xor H(q xor s) xor Delta a bit; words of the outputs (`outputs`)
             S2   W_rho = H(t), xor the word where rho = 1
    online   S2 -> S1   y2 - rho mod 2^n, or y2 xor rho, whatever the program takes as (masked, rho)
             S1 -> S2   answer: the labels of masked = y1 + y2 - rho, 16 bytes a bit, all in one message
             S2   x - r mod 2^L of every output

An input `name` enters the program twice: garbler[name] is the masked value, evaluator[name] is rho. S1 knows
the first, S2 the second, both are uniform and neither says anything alone.

The circuit's Delta is its own and fresh, and never the transfers' s: two circuits of one session would
share theirs, and who learns a Delta learns one circuit's wires. A word is H of a value that S2 does not
know, q xor c' s for the c' that it has not, xor what S1 wants: uniform to S2.

S1's labels go out once, together, after S2's message (adaptivity): S2 may choose what it sends in view of
the tables. Every output is under a fresh mask, so a simulator sets S2's outputs when it makes the tables and
has nothing to equivocate. What is left to assume is that the hash behaves as a random oracle that nobody
programs (Barnum, Heath, Kolesnikov, Ostrovsky: ePrint 2023/1527); bounds for inputs that are fixed before the
tables are sent do not cover it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, NoReturn

import numpy as np

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.circuit import START_POINT_BYTES, Counts, Program, Shapes, count, split
from twinveil.garbling.evaluator import Evaluator
from twinveil.garbling.garbler import Garbler
from twinveil.garbling.hashing import next_block
from twinveil.garbling.labels import LABEL, LABEL_BYTES, Words, random_labels, words, xor_labels, xor_where
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.garbling.outputs import Integers, Widths, read, share, split_words, words_bytes
from twinveil.garbling.primitives import Primitives, primitives


class Offer(NamedTuple):
    """What S1 sends ahead: S and 32 bytes an AND; 16 bytes an input bit; L bits an output bit."""

    tables: bytes
    labels: bytes
    words: bytes


class Circuit:
    """The public description of one circuit, made once and used for every picture.

    program: of masked values and rho, both of shapes `inputs` (bits, *batch), bits at most 64.
    widths: L of every output that leaves as additive shares modulo 2^L; others leave flipped.
    """

    def __init__(self, program: Program, inputs: Shapes, widths: Widths) -> None:
        self.program = program
        self.inputs = dict(inputs)
        self.widths = dict(widths)

    @cached_property
    def counts(self) -> Counts:
        return count(self.program, self.inputs, self.inputs)

    @property
    def transfers(self) -> int:
        """Random transfers that it takes: one for each bit of rho."""
        return self.counts.evaluator_bits

    @property
    def offer_bytes(self) -> tuple[int, int, int]:
        """Sizes of the parts of an Offer."""
        shapes = dict(self.counts.outputs)
        return (
            self.counts.table_bytes,
            LABEL_BYTES * self.counts.evaluator_bits,
            words_bytes(self.widths, shapes),
        )

    @property
    def answer_bytes(self) -> int:
        return self.counts.garbler_label_bytes

    def garble(self, transfers: ExtensionSender) -> GarblerHalf:
        return GarblerHalf(self, transfers)

    def hold(self, offer: Offer, transfers: ExtensionReceiver) -> EvaluatorHalf:
        return EvaluatorHalf(self, offer, transfers)


class GarblerHalf:
    """S1's half of one garbled circuit: offers once, ahead, and answers once.

    masks: by name, r modulo 2^L of every shared output, p of every flipped one.
    """

    def __init__(self, circuit: Circuit, transfers: ExtensionSender) -> None:
        counts = circuit.counts
        start_point = os.urandom(START_POINT_BYTES)
        tables = np.empty(counts.table_bytes, np.uint8)
        tables[:START_POINT_BYTES] = np.frombuffer(start_point, np.uint8)
        garbler = Garbler(start_point, tables[START_POINT_BYTES:].view("<u8"))
        pads = transfers.take(circuit.transfers)
        drawn = np.ascontiguousarray(pads[:, 0])
        own = random_labels(counts.garbler_bits)
        outputs = circuit.program(garbler, split(circuit.inputs, own), split(circuit.inputs, drawn))
        if not garbler.done:
            raise InvalidMessage("the program made fewer gates than were counted")
        sent, self.masks = share(garbler, outputs, circuit.widths)
        labels = garbler.invert(xor_labels(drawn, pads[:, 1]))
        self._offer: Offer | None = Offer(tables.tobytes(), labels.tobytes(), sent)
        self._inputs = circuit.inputs
        self._delta = garbler.delta
        self._zeros: dict[str, np.ndarray] | None = split(circuit.inputs, own)

    def __repr__(self) -> str:
        return "GarblerHalf(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("half a garbled circuit is used once: it is neither pickled nor copied")

    def offer(self) -> Offer:
        """For S2, ahead. Once: tables are large, and S1 has no further use for them."""
        if self._offer is None:
            raise AlreadyUsed("the tables of this circuit are already out")
        offer, self._offer = self._offer, None
        return offer

    def answer(self, masked: Mapping[str, Integers]) -> bytes:
        """Labels of the masked values, by name, reduced and (*batch): 16 bytes a bit. Once."""
        if self._zeros is None:
            raise AlreadyUsed("the labels of this circuit are already out")
        if set(masked) != set(self._inputs) or any(
            masked[name].shape != tuple(shape[1:]) for name, shape in self._inputs.items()
        ):
            raise InvalidMessage(
                f"a circuit wants the inputs {', '.join(sorted(self._inputs))}, each of its shape"
            )
        bits = {name: to_bits(masked[name], shape[0]) for name, shape in self._inputs.items()}
        zeros, self._zeros = self._zeros, None
        return b"".join(xor_where(zeros[name], self._delta, bits[name]).tobytes() for name in sorted(zeros))


class EvaluatorHalf:
    """S2's half: everything but S1's labels is there, keys are set up; opens once.

    drawn: rho of every input, uniform, by name; (*batch). Raises InvalidMessage if a size of the offer is not
    exactly the circuit's; nothing here depends on its content.
    """

    def __init__(self, circuit: Circuit, offer: Offer, transfers: ExtensionReceiver) -> None:
        for what, received, size in zip(Offer._fields, offer, circuit.offer_bytes, strict=True):
            if len(received) != size:
                raise InvalidMessage(f"the circuit's {what} have {len(received)} bytes instead of {size}")
        counts = circuit.counts
        choices, pads = transfers.take(circuit.transfers)
        self.drawn = {name: from_bits(bits) for name, bits in split(circuit.inputs, choices).items()}
        labels = words(pads) ^ words(np.frombuffer(offer.labels, LABEL)) * choices[:, None]
        self._circuit = circuit
        self._labels = split(circuit.inputs, labels.reshape(-1).view(LABEL))
        self._words = split_words(offer.words, circuit.widths, dict(counts.outputs))
        tables = np.frombuffer(offer.tables, "<u8", offset=START_POINT_BYTES)
        own = primitives(offer.tables[:START_POINT_BYTES])
        own.set_up(range(next_block(counts.and_gates) + sum(each.size for each in self._words.values())))
        self._garbled: tuple[Primitives, Words] | None = own, tables

    def __repr__(self) -> str:
        return "EvaluatorHalf(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("half a garbled circuit is used once: it is neither pickled nor copied")

    def open(self, answer: bytes) -> dict[str, Integers]:
        """x - r modulo 2^L of every shared output, x xor p of every flipped one, by name; (*batch). Once.

        Raises InvalidMessage, and is used up, if the size is not exact; whatever it holds gives some output.
        """
        if self._garbled is None:
            raise AlreadyUsed("this circuit is already evaluated")
        (own, tables), self._garbled = self._garbled, None
        circuit, evaluator = self._circuit, Evaluator(own, tables)
        if len(answer) != circuit.answer_bytes:
            raise InvalidMessage(f"an answer has {len(answer)} bytes instead of {circuit.answer_bytes}")
        masked = split(circuit.inputs, np.frombuffer(answer, LABEL))
        outputs = circuit.program(evaluator, masked, self._labels)
        if not evaluator.done:
            raise InvalidMessage("the program made fewer gates than were counted")
        return read(evaluator, outputs, circuit.widths, self._words)
