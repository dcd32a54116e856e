"""S1's side: half gates with free XOR and point-and-permute, over whole bundles.

Zahur, Rosulek, Evans, "Two Halves Make a Whole" (ePrint 2014/756): two ciphertexts an AND, none an XOR or
NOT. A wire's zero label is A0, its one label A1 = A0 xor Delta; lsb(Delta) = 1 makes lsb(A0) the wire's
permute bit. With p_a, p_b the permute bits, H the hash of `hashing`, j = 2i, j' = 2i + 1 for instance i:

    T_G = H(A0, j)  xor H(A1, j)  xor p_b Delta       W_G = H(A0, j)  xor p_a T_G
    T_E = H(B0, j') xor H(B1, j') xor A0              W_E = H(B0, j') xor p_b (T_E xor A0)
    C0  = W_G xor W_E

Public constants are wires with the label 0 in the evaluator's hands: zero label 0 or Delta.
"""

from __future__ import annotations

import os
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.circuit import (
    START_POINT_BYTES,
    Bits,
    Counts,
    Program,
    Shapes,
    count,
    flatten,
    join,
    split,
)
from twinveil.garbling.gates import Wires
from twinveil.garbling.labels import (
    LABEL,
    LABEL_BYTES,
    Bools,
    Labels,
    Words,
    align,
    permute_bits,
    random_labels,
    words,
    xor_all,
    xor_labels,
    xor_where,
)
from twinveil.garbling.primitives import primitives


class Garbler:
    """The backend that makes garbled tables. Wires are zero labels; one labels are xor `delta`.

    tables: (16 * and_gates) words to fill, in the order of the calls: T_G of all instances, then T_E.
    """

    def __init__(self, start_point: bytes, tables: npt.NDArray[np.uint64]) -> None:
        delta = words(random_labels(1))
        delta[0, 0] |= np.uint64(1)
        self.delta = delta[0]
        self.primitives = primitives(start_point)
        self._tables = tables
        self._filled = 0

    def __repr__(self) -> str:
        return f"Garbler({self.instances} gates)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a garbler holds secrets and is not pickled")

    @property
    def instances(self) -> int:
        """AND gates garbled so far."""
        return self._filled // 4

    @property
    def done(self) -> bool:
        """Whether every table is filled."""
        return self._filled == len(self._tables)

    def xor(self, a: Wires, b: Wires) -> Wires:
        return xor_labels(a, b)

    def invert(self, a: Wires) -> Wires:
        return xor_all(a, self.delta)

    def constant(self, bits: Bools) -> Wires:
        return xor_where(np.zeros(np.shape(bits), LABEL), self.delta, np.asarray(bits, np.bool_))

    def by_colour(self, labels: Labels) -> tuple[Labels, Labels]:
        """Of each wire the label of colour 0 and that of colour 1."""
        clear = xor_where(labels, self.delta, permute_bits(labels))
        return clear, xor_all(clear, self.delta)

    def and_(self, a: Wires, b: Wires) -> Wires:
        a, b = align(a, b)
        out = np.empty(a.shape, LABEL)
        first, tables = self._next_tables(out.size)
        self.primitives.garble(first, self.delta, words(a), words(b), tables, words(out))
        return out

    def ripple(self, x: Wires, y: Wires, first: Wires) -> Wires:
        out = np.empty((len(x) + 1, *x.shape[1:]), LABEL)
        out[:1] = first
        start, tables = self._next_tables(x.size)
        self.primitives.garble_ripple(start, self.delta, words(x), words(y), tables, words(out))
        return out

    def _next_tables(self, count: int) -> tuple[int, npt.NDArray[np.uint64]]:
        """The number of the first of `count` more gates, and room for their tables (2, count, 2)."""
        first, start = self.instances, self._filled
        self._filled += 4 * count
        return first, self._tables[start : self._filled].reshape(2, count, 2)


class Garbling:
    """One garbled batch, for one evaluation. Its labels leave once; a second call raises AlreadyUsed.

    tables: goes to the evaluator: S, then 32 bytes an AND. decode: packed permute bits of the outputs.
    """

    def __init__(
        self,
        counts: Counts,
        garbler_shapes: Shapes,
        labels: tuple[Labels, Labels],
        delta: Words,
        tables: bytes,
        decode: bytes,
    ) -> None:
        self.counts = counts
        self.tables = tables
        self.decode = decode
        self._shapes = dict(garbler_shapes)
        self._delta = delta
        self._garbler_zeros: Labels | None = labels[0]
        self._evaluator_zeros: Labels | None = labels[1]

    def __repr__(self) -> str:
        return f"Garbling({self.counts.and_gates} AND gates)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a garbling holds secrets and is not pickled")

    def garbler_labels(self, inputs: Bits) -> bytes:
        """Labels of the garbler's own bits, 16 bytes each in wire order. Once."""
        if self._garbler_zeros is None:
            raise AlreadyUsed("the garbler's labels of this circuit are already out")
        bits = flatten(self._shapes, inputs)
        zeros, self._garbler_zeros = self._garbler_zeros, None
        return xor_where(zeros, self._delta, bits).tobytes()

    def evaluator_pairs(self) -> npt.NDArray[np.uint8]:
        """Both labels of each evaluator's bit for oblivious transfer: uint8 (n, 2, 16). Once."""
        if self._evaluator_zeros is None:
            raise AlreadyUsed("the evaluator's label pairs of this circuit are already out")
        zeros, self._evaluator_zeros = self._evaluator_zeros, None
        pairs = np.stack([zeros, xor_all(zeros, self._delta)], axis=1)
        return pairs.view(np.uint8).reshape(-1, 2, LABEL_BYTES)


def garble(
    program: Program, garbler_shapes: Shapes, evaluator_shapes: Shapes, counts: Counts | None = None
) -> Garbling:
    """Garble `program` under a fresh Delta and start point, ahead of any input.

    counts: what `count` says of the same arguments, if at hand.
    """
    counts = counts or count(program, garbler_shapes, evaluator_shapes)
    start_point = os.urandom(START_POINT_BYTES)
    buffer = np.empty(counts.table_bytes, np.uint8)
    buffer[:START_POINT_BYTES] = np.frombuffer(start_point, np.uint8)
    garbler = Garbler(start_point, buffer[START_POINT_BYTES:].view("<u8"))
    own, other = random_labels(counts.garbler_bits), random_labels(counts.evaluator_bits)
    outputs = program(garbler, split(garbler_shapes, own), split(evaluator_shapes, other))
    if not garbler.done:
        raise InvalidMessage("the program made fewer gates than were counted")
    decode = np.packbits(permute_bits(join(outputs)), bitorder="little").tobytes()
    return Garbling(counts, garbler_shapes, (own, other), garbler.delta, buffer.tobytes(), decode)
