"""S2's side: one label a wire, one hash a half gate.

With the active labels A, B, their permute bits s_a, s_b, and the names of `garbler`:

    C = H(A, j) xor s_a T_G  xor  H(B, j') xor s_b (T_E xor A)

Nothing here depends on what the labels say: sizes are checked first, then any content gives some output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage
from twinveil.garbling.circuit import START_POINT_BYTES, Counts, Program, Shapes, count, join, split
from twinveil.garbling.gates import Wires
from twinveil.garbling.hashing import BLOCK, CHUNK, Encrypt, Workspace, block_ciphers, permute_mask, sigma
from twinveil.garbling.labels import (
    LABEL,
    LABEL_BYTES,
    Bools,
    Bytes,
    Words,
    align,
    permute_bits,
    words,
    xor_labels,
)


class Evaluator:
    """The backend that opens garbled tables. Wires are active labels."""

    def __init__(self, start_point: bytes, tables: npt.NDArray[np.uint64]) -> None:
        self._start_point = start_point
        self._tables = tables
        self._read = 0
        self._gate = 0
        self._workspace = Workspace(2)

    def __repr__(self) -> str:
        return f"Evaluator({self._gate} gates)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an evaluator holds labels and is not pickled")

    @property
    def done(self) -> bool:
        """Whether every table is read."""
        return self._read == len(self._tables)

    def xor(self, a: Wires, b: Wires) -> Wires:
        return xor_labels(a, b)

    def invert(self, a: Wires) -> Wires:
        return a

    def constant(self, bits: Bools) -> Wires:
        return np.zeros(np.shape(bits), LABEL)

    def and_(self, a: Wires, b: Wires) -> Wires:
        a, b = align(a, b)
        out = np.empty(a.shape, LABEL)
        left, right, active = words(a), words(b), words(out)
        ciphers = block_ciphers(self._start_point, self._gate, range(len(active)))
        self._gate += 1
        tables = self._next_tables(len(active))
        for start in range(0, len(active), CHUNK):
            part = slice(start, start + CHUNK)
            own = ciphers[start // BLOCK : (start + CHUNK) // BLOCK]
            self._half_gates(own, left[part], right[part], tables[:, part], active[part])
        return out

    def _next_tables(self, instances: int) -> npt.NDArray[np.uint64]:
        start = self._read
        self._read += 4 * instances
        return self._tables[start : self._read].reshape(2, instances, 2)

    def _half_gates(
        self,
        ciphers: Sequence[Encrypt],
        a: Words,
        b: Words,
        tables: npt.NDArray[np.uint64],
        active: Words,
    ) -> None:
        """Active labels of at most CHUNK instances, and the ciphers of their blocks."""
        work = self._workspace.sized(len(a))
        blocks, images, fold = work.blocks, work.images, work.fold

        sigma(a, blocks[0])
        sigma(b, blocks[1])
        np.bitwise_xor(blocks[0], blocks[1], out=fold)
        work.tweak()
        work.encrypt(ciphers)

        permute_mask(a, work.mask_a)
        permute_mask(b, work.mask_b)
        work.mask_a &= tables[0]
        np.bitwise_xor(tables[1], a, out=blocks[0])
        work.mask_b &= blocks[0]
        fold ^= images[0]
        fold ^= images[1]
        fold ^= work.mask_a
        np.bitwise_xor(fold, work.mask_b, out=active)


def evaluate(
    program: Program,
    garbler_shapes: Shapes,
    evaluator_shapes: Shapes,
    tables: bytes,
    garbler_labels: bytes,
    evaluator_labels: Bytes | bytes,
    decode: bytes,
    counts: Counts | None = None,
) -> dict[str, Bools]:
    """Outputs of a garbled program: bool (bits, *batch) by name.

    garbler_labels: 16 bytes a bit; evaluator_labels: as many, or uint8 (n, 16) from oblivious transfer.
    counts: what `count` says of the same program and shapes, if at hand.
    Raises InvalidMessage if any size is not exactly the program's; never because of content.
    """
    counts = counts or count(program, garbler_shapes, evaluator_shapes)
    own = (
        np.frombuffer(evaluator_labels, np.uint8) if isinstance(evaluator_labels, bytes) else evaluator_labels
    )
    own = np.ascontiguousarray(own).reshape(-1)
    if own.dtype != np.uint8:
        raise InvalidMessage("labels are bytes")
    for what, received, size in (
        ("tables", tables, counts.table_bytes),
        ("garbler's labels", garbler_labels, counts.garbler_label_bytes),
        ("evaluator's labels", own, LABEL_BYTES * counts.evaluator_bits),
        ("decoding bits", decode, counts.decode_bytes),
    ):
        if len(received) != size:
            raise InvalidMessage(f"the circuit's {what} have {len(received)} bytes instead of {size}")
    evaluator = Evaluator(tables[:START_POINT_BYTES], np.frombuffer(tables, "<u8", offset=START_POINT_BYTES))
    outputs = program(
        evaluator,
        split(garbler_shapes, np.frombuffer(garbler_labels, LABEL)),
        split(evaluator_shapes, own.view(LABEL)),
    )
    if not evaluator.done:
        raise InvalidMessage("the program made fewer gates than were counted")
    permute = np.unpackbits(
        np.frombuffer(decode, np.uint8), count=counts.output_bits, bitorder="little"
    ).view(np.bool_)
    return split(dict(counts.outputs), permute_bits(join(outputs)) ^ permute)
