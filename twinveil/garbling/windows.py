"""SMAP's windows, with comparisons shared between windows.

The maximum over a square is the maximum along one axis, then along the other. Along an axis, outputs are
taken two by two: the part that both windows cover is computed once. For 3x3 windows of stride 1 this takes
1.5 comparisons an output along each axis, for stride 2 it takes 2. Padding is left out of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage

Interval = tuple[int, int]
Anything = npt.NDArray[Any]
Larger = Callable[[Anything, Anything], Anything]
Round = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """Comparisons along one axis, over a row of values that grows.

    inputs: positions that some window covers; they are the row's first places. Each round appends
    max(row[left], row[right]) for its lists of places; `outputs` are the places of the windows' maxima.
    """

    inputs: tuple[int, ...]
    rounds: tuple[Round, ...]
    outputs: tuple[int, ...]

    @property
    def comparisons(self) -> int:
        return sum(len(left) for left, _ in self.rounds)


def pooled(values: Anything, size: int, stride: int, padding: int, larger: Larger) -> Anything:
    """Windows of anything that `larger` compares elementwise: (..., H, W) -> (..., OH, OW).

    Comparisons for each channel: R * W + C * OH or C * H + R * OW, whichever is less; R and C are the
    `comparisons` of the two axes' schedules, H and W count covered positions only.
    """
    rows = schedule(values.shape[-2], size, stride, padding)
    columns = schedule(values.shape[-1], size, stride, padding)
    rows_first = rows.comparisons * len(columns.inputs) + columns.comparisons * len(rows.outputs)
    columns_first = columns.comparisons * len(rows.inputs) + rows.comparisons * len(columns.outputs)
    values = values.take(rows.inputs, axis=-2).take(columns.inputs, axis=-1)
    order = ((-2, rows), (-1, columns)) if rows_first < columns_first else ((-1, columns), (-2, rows))
    for axis, plan in order:
        for left, right in plan.rounds:
            made = larger(values.take(left, axis=axis), values.take(right, axis=axis))
            values = np.concatenate([values, made], axis=axis)
        values = values.take(plan.outputs, axis=axis)
    return values


def windows(side: int, size: int, stride: int, padding: int) -> tuple[Interval, ...]:
    """Positions [low, high) that each output's window covers, padding left out."""
    if size < 1 or stride < 1 or not 0 <= padding < size or side + 2 * padding < size:
        raise InvalidMessage(f"no windows of size {size}, stride {stride}, padding {padding} on side {side}")
    starts = range(-padding, side + padding - size + 1, stride)
    return tuple((max(start, 0), min(start + size, side)) for start in starts)


@lru_cache(maxsize=256)
def schedule(side: int, size: int, stride: int, padding: int) -> PoolOrder:
    """Comparisons for all windows along an axis, neighbours sharing what both cover."""
    intervals = windows(side, size, stride, padding)
    inputs = sorted({position for low, high in intervals for position in range(low, high)})
    planner = _Planner(inputs)
    for index in range(0, len(intervals), 2):
        pair = intervals[index : index + 2]
        shared = (pair[-1][0], pair[0][1])
        if len(pair) == 2 and shared[1] - shared[0] > 1:
            planner.compute(shared, None)
        else:
            shared = (0, 0)
        for interval in pair:
            planner.compute(interval, shared)
    return planner.finish(intervals)


class _Planner:
    """Collects comparisons; a value is known by the interval whose maximum it is."""

    def __init__(self, inputs: list[int]) -> None:
        self._inputs = inputs
        self._depth = {(position, position + 1): 0 for position in inputs}
        self._made: dict[Interval, tuple[Interval, Interval]] = {}

    def compute(self, interval: Interval, shared: Interval | None) -> None:
        """The maximum of `interval` from single values and, where it is given, of `shared` inside it."""
        low, high = shared if shared and shared[0] < shared[1] else (interval[1], interval[1])
        singles = [(at, at + 1) for at in (*range(interval[0], low), *range(high, interval[1]))]
        parts = [*singles, (low, high)] if low < high else singles
        heap = [(self._depth[part], part) for part in parts]
        heapify(heap)
        while len(heap) > 1:
            (_, first), (depth, second) = heappop(heap), heappop(heap)
            # The last is named by the whole interval; those before only need a name of their own.
            name = interval if not heap else (min(first, second)[0], -len(self._made) - 1)
            if name not in self._depth:
                self._depth[name] = depth + 1
                self._made[name] = (first, second)
            heappush(heap, (self._depth[name], name))

    def finish(self, intervals: Iterable[Interval]) -> PoolOrder:
        """Comparisons of one depth become one round."""
        place = {(position, position + 1): index for index, position in enumerate(self._inputs)}
        rounds: list[Round] = []
        for depth in range(1, max(self._depth.values()) + 1):
            names = [name for name in self._made if self._depth[name] == depth]
            left = tuple(place[self._made[name][0]] for name in names)
            right = tuple(place[self._made[name][1]] for name in names)
            place.update({name: len(place) + index for index, name in enumerate(names)})
            rounds.append((left, right))
        return PoolOrder(tuple(self._inputs), tuple(rounds), tuple(place[name] for name in intervals))
