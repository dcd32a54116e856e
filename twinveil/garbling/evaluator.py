"""S2's side: one label a wire, one hash a half gate.

With the active labels A, B, their permute bits s_a, s_b, and the names of `garbler`:

    C = H(A, j) xor s_a T_G  xor  H(B, j') xor s_b (T_E xor A)

Nothing here depends on what the labels say: sizes are checked first, then any content gives some output.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage
from twinveil.garbling.circuit import START_POINT_BYTES, Counts, Program, Shapes, count, join, split
from twinveil.garbling.gates import Wires
from twinveil.garbling.labels import (
    LABEL,
    LABEL_BYTES,
    Bools,
    Bytes,
    align,
    permute_bits,
    words,
    xor_labels,
)
from twinveil.garbling.primitives import Primitives, primitives


class Evaluator:
    """The backend that opens garbled tables. Wires are active labels."""

    def __init__(self, own: Primitives, tables: npt.NDArray[np.uint64]) -> None:
        self.primitives = own
        self._tables = tables
        self._read = 0

    def __repr__(self) -> str:
        return f"Evaluator({self.instances} gates)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an evaluator holds labels and is not pickled")

    @property
    def instances(self) -> int:
        """AND gates opened so far."""
        return self._read // 4

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
        first, tables = self._next_tables(out.size)
        self.primitives.open(first, words(a), words(b), tables, words(out))
        return out

    def ripple(self, x: Wires, y: Wires, first: Wires) -> Wires:
        out = np.empty((len(x) + 1, *x.shape[1:]), LABEL)
        out[:1] = first
        start, tables = self._next_tables(x.size)
        self.primitives.open_ripple(start, words(x), words(y), tables, words(out))
        return out

    def _next_tables(self, count: int) -> tuple[int, npt.NDArray[np.uint64]]:
        """The number of the first of `count` more gates, and their tables (2, count, 2)."""
        first, start = self.instances, self._read
        self._read += 4 * count
        return first, self._tables[start : self._read].reshape(2, count, 2)


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
    own_primitives = primitives(tables[:START_POINT_BYTES])
    evaluator = Evaluator(own_primitives, np.frombuffer(tables, "<u8", offset=START_POINT_BYTES))
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
