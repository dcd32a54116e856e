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
from collections.abc import Sequence
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
from twinveil.garbling.hashing import BLOCK, CHUNK, Encrypt, Workspace, block_ciphers, permute_mask, sigma
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


class Garbler:
    """The backend that makes garbled tables. Wires are zero labels.

    tables: (16 * and_gates) words to fill, in the order of the calls: T_G of all instances, then T_E.
    """

    def __init__(self, start_point: bytes, tables: npt.NDArray[np.uint64]) -> None:
        delta = words(random_labels(1))
        delta[0, 0] |= np.uint64(1)
        self._delta = delta[0]
        self._delta_rows = np.repeat(delta, CHUNK, axis=0)
        self._sigma_delta_rows = np.empty_like(self._delta_rows)
        sigma(self._delta_rows, self._sigma_delta_rows)
        self._start_point = start_point
        self._tables = tables
        self._filled = 0
        self._gate = 0
        self._workspace = Workspace(4)

    def __repr__(self) -> str:
        return f"Garbler({self._gate} gates)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a garbler holds secrets and is not pickled")

    @property
    def done(self) -> bool:
        """Whether every table is filled."""
        return self._filled == len(self._tables)

    def xor(self, a: Wires, b: Wires) -> Wires:
        return xor_labels(a, b)

    def invert(self, a: Wires) -> Wires:
        return xor_all(a, self._delta)

    def constant(self, bits: Bools) -> Wires:
        return xor_where(np.zeros(np.shape(bits), LABEL), self._delta, np.asarray(bits, np.bool_))

    def select(self, labels: Labels, bits: Bools) -> Labels:
        """The label of `bits` on wires with zero labels `labels`."""
        return xor_where(labels, self._delta, bits)

    def and_(self, a: Wires, b: Wires) -> Wires:
        a, b = align(a, b)
        out = np.empty(a.shape, LABEL)
        left, right, zero = words(a), words(b), words(out)
        ciphers = block_ciphers(self._start_point, self._gate, range(len(zero)))
        self._gate += 1
        tables = self._next_tables(len(zero))
        for start in range(0, len(zero), CHUNK):
            part = slice(start, start + CHUNK)
            own = ciphers[start // BLOCK : (start + CHUNK) // BLOCK]
            self._half_gates(own, left[part], right[part], tables[:, part], zero[part])
        return out

    def _next_tables(self, instances: int) -> npt.NDArray[np.uint64]:
        start = self._filled
        self._filled += 4 * instances
        return self._tables[start : self._filled].reshape(2, instances, 2)

    def _half_gates(
        self,
        ciphers: Sequence[Encrypt],
        a: Words,
        b: Words,
        tables: npt.NDArray[np.uint64],
        zero: Words,
    ) -> None:
        """Tables and zero labels of at most CHUNK instances, and the ciphers of their blocks."""
        size = len(a)
        work = self._workspace.sized(size)
        blocks, images, fold = work.blocks, work.images, work.fold
        delta, sigma_delta = self._delta_rows[:size], self._sigma_delta_rows[:size]

        sigma(a, blocks[0])
        sigma(b, blocks[2])
        np.bitwise_xor(blocks[0], blocks[2], out=fold)
        work.tweak()
        np.bitwise_xor(blocks[0::2], sigma_delta, out=blocks[1::2])
        work.encrypt(ciphers)

        # sigma is linear: H(A0, j) xor H(A1, j) = image xor image xor sigma(Delta).
        pairs = blocks[:2]
        np.bitwise_xor(images[0::2], images[1::2], out=pairs)
        pairs ^= sigma_delta
        permute_mask(a, work.mask_a)
        permute_mask(b, work.mask_b)
        np.bitwise_and(work.mask_b, delta, out=tables[0])
        tables[0] ^= pairs[0]
        np.bitwise_xor(pairs[1], a, out=tables[1])

        work.mask_a &= tables[0]
        work.mask_b &= pairs[1]
        fold ^= images[0]
        fold ^= images[2]
        fold ^= work.mask_a
        np.bitwise_xor(fold, work.mask_b, out=zero)


class Garbling:
    """One garbled batch, for one evaluation. Its labels leave once; a second call raises AlreadyUsed.

    tables: goes to the evaluator: S, then 32 bytes an AND. decode: packed permute bits of the outputs.
    """

    def __init__(
        self,
        counts: Counts,
        garbler_shapes: Shapes,
        labels: tuple[Labels, Labels],
        garbler: Garbler,
        tables: bytes,
        decode: bytes,
    ) -> None:
        self.counts = counts
        self.tables = tables
        self.decode = decode
        self._shapes = dict(garbler_shapes)
        self._garbler = garbler
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
        return self._garbler.select(zeros, bits).tobytes()

    def evaluator_pairs(self) -> npt.NDArray[np.uint8]:
        """Both labels of each evaluator's bit for oblivious transfer: uint8 (n, 2, 16). Once."""
        if self._evaluator_zeros is None:
            raise AlreadyUsed("the evaluator's label pairs of this circuit are already out")
        zeros, self._evaluator_zeros = self._evaluator_zeros, None
        pairs = np.stack([zeros, self._garbler.invert(zeros)], axis=1)
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
    return Garbling(counts, garbler_shapes, (own, other), garbler, buffer.tobytes(), decode)
