"""Comparisons of many pools, some above others, made side by side.

Depth, not width, is what evaluation waits for: every comparison is a chain of carries. So the pools of a
stage are put down as comparisons of *places*, in a row of values that grows, and all of one depth are one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinveil.garbling.gadgets import maximum
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.windows import pooled

Places = npt.NDArray[np.intp]


class Tournament:
    """Over `count` values, at the places 0 to count - 1. First `pool`, then `places`, then `run`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._depth = np.zeros(count, np.intp)
        self._left = np.zeros(0, np.intp)
        self._right = np.zeros(0, np.intp)

    @property
    def comparisons(self) -> int:
        return len(self._left)

    def pool(self, values: Places, size: int, stride: int, padding: int) -> Places:
        """Names of the maxima over all windows, (..., H, W) -> (..., OH, OW), of named values."""
        return pooled(values, size, stride, padding, self._larger)

    def places(self, names: Places) -> Places:
        """Where `run` puts the values of these names."""
        order = np.argsort(self._depth[self._count :], kind="stable")
        made = np.empty_like(order)
        made[order] = np.arange(len(order))
        return np.concatenate([np.arange(self._count), self._count + made])[names]

    def rounds(self) -> list[tuple[Places, Places]]:
        """Places that are compared, depth by depth; each round's maxima follow what is there."""
        depth = self._depth[self._count :]
        left, right = self.places(self._left), self.places(self._right)
        return [
            (left[depth == at], right[depth == at]) for at in range(1, int(self._depth.max(initial=0)) + 1)
        ]

    def _larger(self, left: Places, right: Places) -> Places:
        first = len(self._depth)
        self._depth = np.concatenate(
            [self._depth, 1 + np.maximum(self._depth[left], self._depth[right]).reshape(-1)]
        )
        self._left = np.concatenate([self._left, left.reshape(-1)])
        self._right = np.concatenate([self._right, right.reshape(-1)])
        return np.arange(first, len(self._depth)).reshape(left.shape)


def run(g: Gates, values: Wires, rounds: list[tuple[Places, Places]]) -> Wires:
    """Unsigned values (n, count), and every maximum after them: (n, count + comparisons). ANDs: 2n each."""
    made = values.shape[1]
    row = np.empty((len(values), made + sum(len(left) for left, _ in rounds)), values.dtype)
    row[:, :made] = values
    for left, right in rounds:
        row[:, made : made + len(left)] = maximum(g, row.take(left, axis=1), row.take(right, axis=1))
        made += len(left)
    return row
