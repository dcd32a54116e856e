"""The circuits of one textbook query, in order, and the widths of its masks: public."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadPlan
from twinveil.halves.blinding import COUNT_BITS, Segment, picture_segment
from twinveil.network.plan import IMAGE, Dense, Plan, Shape
from twinveil.network.schedule import LinearStep, PoolStep, Schedule, schedule
from twinveil.params import Params
from twinveil.protocol.textbook.circuits import (
    import_weights,
    label,
    maximum_records,
    requantise,
    sign_records,
)
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.windows import windows
from twinveil.rounds.observer import Masking

MAX_PRODUCTS = 8192
"""SMPs of a picture, those of SACT and SMAP counted: each costs seven full powers."""

BATCH = 128
"""Products in one message."""


@dataclass(frozen=True)
class TextbookLayout:
    """Widths: a masked value is masked by its own bits + sigma + count_bits.

    limit: products that a picture may take; None where it is only looked at, as in estimates.
    """

    plan: Plan
    params: Params
    limit: int | None = MAX_PRODUCTS

    def __post_init__(self) -> None:
        if self.limit is not None and self.products > self.limit:
            raise BadPlan(
                f"a picture takes {self.products:,} products: the textbook engine runs up to {self.limit:,} "
                "(use the packed engine)"
            )

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.plan)

    @cached_property
    def picture(self) -> Segment:
        return picture_segment(self.plan, 1, key_bits=self.params.key_bits, sigma=self.params.sigma)

    @cached_property
    def products(self) -> int:
        """SMPs of one picture, where no window meets padding."""
        linear = sum(self.plan.products(node) for node in self.plan.linear_nodes)
        return linear + self._activations + self._pool_members

    def layer_products(self, step: LinearStep) -> int:
        """SMPs of a layer: a tap that is not padding and an output channel each."""
        shape = self.plan.shapes[step.node.source]
        real = windows(np.ones((shape[0], 1, *shape[1:]), np.uint64), step.node)
        return int(real.sum()) * self.plan.shapes[step.node.name][0]

    @cached_property
    def smps(self) -> Mapping[str, int]:
        """SMPs of one picture by function, those with padding and those of windows of one value left out."""
        made = {"SCVL": 0, "SACT": self._activations, "SMAP": 0, "SCT": 0}
        for stage in self.schedule.stages:
            for step in stage.linear:
                name = "SCT" if isinstance(step.node, Dense) else "SCVL"
                made[name] += self.layer_products(step)
            for pool in stage.pools:
                shape = self.schedule.pieces[pool.source].shape
                windows_of = pool_windows(pool, shape)
                made["SMAP"] += sum(members.size for members in windows_of if members.shape[0] > 1)
        return made

    @cached_property
    def count_bits(self) -> int:
        """ceil(log2(values masked in a query)), at least that of a picture's plaintexts."""
        # Pixels; SACT's values twice on their way in and once on their way out; SMAP's; SCT's.
        pixels, scores = self.picture.count, self.plan.output.out_features
        masked = pixels + 3 * self._activations + self._pool_members + scores
        return max(COUNT_BITS, (masked - 1).bit_length())

    def mask_bits(self, bits: int) -> int:
        return bits + self.params.sigma + self.count_bits

    def masking(self, bits: int) -> Masking:
        """Of an unsigned value that a circuit has forced below 2^bits."""
        return Masking(self.mask_bits(bits))

    @cached_property
    def sum_maskings(self) -> Mapping[str, Masking]:
        """Of each layer's sums. They are integers here, not residues, and no circuit has forced them.

        So their range follows from the widths of pixels, activations, weights and biases, which circuits do
        force, and not from the accumulators', which an owner's plan may declare too narrow.
        """
        maskings = {}
        for node in self.plan.linear_nodes:
            product = ((1 << self.plan.bits[node.source]) - 1) << (node.weight_bits - 1)
            most = self.plan.taps(node) * product + (1 << (node.accumulator_bits - 1))
            bits = most.bit_length()
            maskings[node.name] = Masking(self.mask_bits(bits + 1), offset=1 << bits)
        return maskings

    @cached_property
    def _activations(self) -> int:
        relus = (relu for stage in self.schedule.stages for relu in stage.relus)
        return sum(prod(self.plan.shapes[relu.source]) for relu in relus)

    @cached_property
    def _pool_members(self) -> int:
        """Values of all windows, those of one value counted though they are only copied."""
        members = 0
        for stage in self.schedule.stages:
            for pool in stage.pools:
                channels, height, width = self.schedule.pieces[pool.source].shape
                rows, columns = (sum(map(len, _spans(side, pool))) for side in (height, width))
                members += channels * rows * columns
        return members

    def steps(self) -> list[GarbledStep]:
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

    def _pool_steps(self, pool: PoolStep) -> Iterator[GarbledStep]:
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
