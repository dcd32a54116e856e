"""A circuit, its inputs and what it costs; what garbler and evaluator agree on.

    garbler                                   evaluator
    garble(program)  -- tables, decode ->
    garbler_labels   -- labels of S1's bits ->
    evaluator_pairs  == oblivious transfer => labels of S2's bits
                                              evaluate(program) = outputs

Inputs and outputs are named bundles of bits (bits, *batch). On the wire they follow one another in the
order of their sorted names, each in C order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from twinveil.errors import InvalidMessage
from twinveil.garbling.gates import Counter, Gates, Plain, Wires, blank
from twinveil.garbling.labels import LABEL_BYTES, Bools, Labels

Program = Callable[[Gates, Mapping[str, Wires], Mapping[str, Wires]], Mapping[str, Wires]]
"""(gates, garbler's inputs, evaluator's inputs) -> outputs, which the evaluator learns."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape (bits, *batch) of each bundle by name."""

Bits = Mapping[str, Bools]

START_POINT_BYTES = 16
AND_BYTES = 2 * LABEL_BYTES


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything about a circuit's size, from its program and shapes alone."""

    gates: int
    """Calls of `and_`: the sequential depth."""
    and_gates: int
    """AND gates over all instances."""
    garbler_bits: int
    evaluator_bits: int
    """Input bits, and so labels; the evaluator's are as many oblivious transfers."""
    output_bits: int
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    """Names and shapes of the outputs, sorted."""

    @property
    def table_bytes(self) -> int:
        return START_POINT_BYTES + AND_BYTES * self.and_gates

    @property
    def garbler_label_bytes(self) -> int:
        return LABEL_BYTES * self.garbler_bits

    @property
    def decode_bytes(self) -> int:
        return (self.output_bits + 7) // 8


def count(program: Program, garbler_shapes: Shapes, evaluator_shapes: Shapes) -> Counts:
    """Run `program` on shapes only."""
    counter = Counter()
    garbler = {name: blank(tuple(shape)) for name, shape in garbler_shapes.items()}
    evaluator = {name: blank(tuple(shape)) for name, shape in evaluator_shapes.items()}
    outputs = program(counter, garbler, evaluator)
    return Counts(
        gates=counter.gates,
        and_gates=counter.and_gates,
        garbler_bits=bit_count(garbler_shapes),
        evaluator_bits=bit_count(evaluator_shapes),
        output_bits=sum(wires.size for wires in outputs.values()),
        outputs=tuple((name, outputs[name].shape) for name in sorted(outputs)),
    )


def run_plain(program: Program, garbler_bits: Bits, evaluator_bits: Bits) -> dict[str, Bools]:
    """The same program on bits in the clear: what garbling and evaluating it must give."""
    outputs = program(Plain(), garbler_bits, evaluator_bits)
    return {name: np.array(wires, np.bool_) for name, wires in outputs.items()}


def bit_count(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def flatten(shapes: Shapes, bits: Bits) -> Bools:
    """Named bits as one flat array in wire order: the evaluator's choice bits.

    Raises InvalidMessage unless names, shapes and dtype are exactly those of `shapes`.
    """
    if set(bits) != set(shapes):
        raise InvalidMessage(f"a circuit wants the inputs {', '.join(sorted(shapes))}")
    for name, shape in shapes.items():
        if bits[name].shape != tuple(shape) or bits[name].dtype != np.bool_:
            raise InvalidMessage(f"circuit input {name} must be bool of shape {tuple(shape)}")
    parts = [bits[name].reshape(-1) for name in sorted(shapes)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def split(shapes: Shapes, flat: Labels) -> dict[str, Wires]:
    """A flat array in wire order as named bundles; the inverse of `flatten` for any dtype."""
    bundles = {}
    start = 0
    for name in sorted(shapes):
        end = start + prod(shapes[name])
        bundles[name] = flat[start:end].reshape(shapes[name])
        start = end
    return bundles


def join(outputs: Mapping[str, Wires]) -> Wires:
    """Output bundles as one flat array in wire order."""
    return np.concatenate([outputs[name].reshape(-1) for name in sorted(outputs)])
