"""The circuits of one textbook query, in order, and the widths of its masks: public."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from twinveil.blinding import COUNT_BITS, Segment, picture_segment
from twinveil.errors import BadPlan
from twinveil.params import Params
from twinveil.plan import IMAGE, Plan, Shape
from twinveil.protocol.circuits import import_weights, label, maximum_records, requantise, sign_records
from twinveil.protocol.garbled import Step
from twinveil.schedule import PoolStep, Schedule, schedule

MAX_PRODUCTS = 4096
"""Products that a network may have here: each costs seven full powers."""

BATCH = 128
"""Products in one message."""


@dataclass(frozen=True)
class TextbookLayout:
    """Widths: a masked value is masked by its own bits + sigma + COUNT_BITS.

    limit: products that the network may have; None where it is only looked at, as in estimates.
    """

    plan: Plan
    params: Params
    limit: int | None = MAX_PRODUCTS

    def __post_init__(self) -> None:
        products = sum(self.plan.products(node) for node in self.plan.linear_nodes)
        if self.limit is not None and products > self.limit:
            raise BadPlan(
                f"this network has {products:,} products: the textbook engine runs up to {self.limit:,} "
                "(use the packed engine)"
            )

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.plan)

    @cached_property
    def picture(self) -> Segment:
        return picture_segment(self.plan, 1, key_bits=self.params.key_bits, sigma=self.params.sigma)

    def mask_bits(self, bits: int) -> int:
        return bits + self.params.sigma + COUNT_BITS

    def steps(self) -> list[Step]:
        made = [import_weights([self.picture], {IMAGE: self.mask_bits(self.picture.bits)})]
        for pool in self.schedule.stages[0].pools:
            made += self._pool_steps(pool)
        for stage in self.schedule.stages[1:-1]:
            for relu in stage.relus:
                bits, count = self.plan.bits[relu.source], int(np.prod(self.plan.shapes[relu.source]))
                made.append(sign_records(bits, count))
                made.append(requantise(bits, count, relu.shift, relu.bits, self.mask_bits(relu.bits)))
            for pool in stage.pools:
                made += self._pool_steps(pool)
        dense = self.plan.output
        made.append(label(dense.accumulator_bits, dense.out_features, 1))
        return made

    def _pool_steps(self, pool: PoolStep) -> Iterator[Step]:
        source = self.schedule.pieces[pool.source]
        for members in pool_windows(pool, source.shape):
            if members.shape[0] > 1:
                yield maximum_records(source.bits, members.shape[1], members.shape[0])


def pool_windows(pool: PoolStep, shape: Shape) -> list[npt.NDArray[np.int64]]:
    """Windows by their number of members: arrays (members, windows) of indices into the flattened piece.

    Padding is left out, so windows at the border have fewer members. `pool_order` says where each goes.
    """
    return [members for members, _ in _grouped(pool, shape)]


def pool_order(pool: PoolStep, shape: Shape) -> npt.NDArray[np.int64]:
    """Output position of every window of pool_windows, concatenated."""
    return np.concatenate([places for _, places in _grouped(pool, shape)])


def _grouped(pool: PoolStep, shape: Shape) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    channels, height, width = shape
    rows = _spans(height, pool)
    columns = _spans(width, pool)
    groups: dict[int, tuple[list[list[int]], list[int]]] = {}
    place = 0
    for channel in range(channels):
        for row in rows:
            for column in columns:
                members = [(channel * height + y) * width + x for y in row for x in column]
                windows, places = groups.setdefault(len(members), ([], []))
                windows.append(members)
                places.append(place)
                place += 1
    return [
        (np.array(windows, np.int64).T, np.array(places, np.int64))
        for _, (windows, places) in sorted(groups.items())
    ]


def _spans(side: int, pool: PoolStep) -> list[range]:
    starts = range(-pool.padding, side + pool.padding - pool.size + 1, pool.stride)
    return [range(max(0, start), min(side, start + pool.size)) for start in starts]
