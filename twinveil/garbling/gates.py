"""The interface a circuit is written against, and its two backends without labels.

A circuit is a Python function over bundles of wires. A bundle is a numpy array of shape (bits, *batch),
bit 0 least significant; its dtype is the backend's. Slicing, reshaping, gathering and joining are plain
numpy and free. A bundle is never written to after it is made. The fewer calls, the faster; a chain of carries
is one `ripple`, of which only half has to wait for the carry before.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from twinveil.garbling.labels import Bools

Wires = npt.NDArray[Any]
"""Array (bits, *batch) of whatever a backend puts on a wire."""


class Gates(Protocol):
    """What every backend can do. Operands broadcast against each other."""

    def xor(self, a: Wires, b: Wires) -> Wires:
        """a xor b; free."""
        ...

    def and_(self, a: Wires, b: Wires) -> Wires:
        """a and b; one AND gate for each element of the broadcast shape."""
        ...

    def ripple(self, x: Wires, y: Wires, first: Wires) -> Wires:
        """Carries c_0 = first, c_(i+1) = x_i where x_i = y_i, else c_i: (n + 1, *batch).

        x, y (n, *batch) and first (1, *batch) are of one batch. n AND gates for each element of the batch:
        c_(i+1) = x_i xor (x_i xor y_i) (x_i xor c_i).
        """
        ...

    def invert(self, a: Wires) -> Wires:
        """not a; free."""
        ...

    def constant(self, bits: Bools) -> Wires:
        """Public bits as wires: a fresh array. Free, but an AND with it is paid like any other."""
        ...


class Plain:
    """The ideal twin: wires are bits."""

    def xor(self, a: Wires, b: Wires) -> Wires:
        return a ^ b

    def and_(self, a: Wires, b: Wires) -> Wires:
        return a & b

    def ripple(self, x: Wires, y: Wires, first: Wires) -> Wires:
        carries = [first[0]]
        for left, right in zip(x, y, strict=True):
            carries.append(np.where(left == right, left, carries[-1]))
        return np.stack(carries)

    def invert(self, a: Wires) -> Wires:
        return ~a

    def constant(self, bits: Bools) -> Wires:
        return np.array(bits, np.bool_)


class Counter:
    """Counts AND gates; wires carry shapes only.

    gates: AND gates one after the other. and_gates: AND gates over all instances.
    """

    def __init__(self) -> None:
        self.gates = 0
        self.and_gates = 0

    def xor(self, a: Wires, b: Wires) -> Wires:
        return a if a.shape == b.shape else blank(np.broadcast_shapes(a.shape, b.shape))

    def and_(self, a: Wires, b: Wires) -> Wires:
        out = self.xor(a, b)
        self.gates += 1
        self.and_gates += out.size
        return out

    def ripple(self, x: Wires, y: Wires, first: Wires) -> Wires:
        self.gates += len(x)
        self.and_gates += x.size
        return blank((len(x) + 1, *x.shape[1:]))

    def invert(self, a: Wires) -> Wires:
        return a

    def constant(self, bits: Bools) -> Wires:
        return np.zeros(np.shape(bits), np.bool_)


def blank(shape: tuple[int, ...]) -> Wires:
    """A bundle that carries its shape only."""
    return np.zeros(shape, np.bool_)
