"""What the clouds of the textbook engine say to one another, in order, from public data alone.

Both views are made of this list: a request is what S2 is shown, a reply what S1 is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twinveil.halves.blinding import Segment
from twinveil.network.schedule import LinearStep, PoolStep, ReluStep
from twinveil.params import Params
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, pool_windows
from twinveil.protocol.windows import windows
from twinveil.rounds.observer import Masking


@dataclass(frozen=True)
class Masked:
    """Ciphertexts of masked plaintexts, so many under each mask."""

    body: str
    masks: Sequence[tuple[int, Masking]]


@dataclass(frozen=True)
class Circuit:
    """A garbled circuit; `top` bits above every output's mask are 0."""

    step: GarbledStep
    top: int = 0


@dataclass(frozen=True)
class Operands:
    """Both sides of so many products."""

    count: int


@dataclass(frozen=True)
class Corrections:
    """S2's choice bits for a circuit; with the transfers themselves where none were made ahead."""

    step: GarbledStep
    extension: bool = False


@dataclass(frozen=True)
class Ciphertexts:
    """So many ciphertexts that S2 made."""

    body: str
    field: str
    count: int


@dataclass(frozen=True)
class Bare:
    """A message that says nothing but its name."""

    body: str


class Exchange(NamedTuple):
    request: Masked | Circuit | Operands | Bare
    reply: Corrections | Ciphertexts | Bare


ANSWERED, DONE = Bare("answered"), Bare("done")


def picture_mask(picture: Segment, params: Params) -> Masked:
    hidden = Masking(picture.plaintext_mask_bits(params.sigma))
    return Masked("masked_plaintexts", [(picture.plaintexts, hidden)])


class TextbookQuery:
    """The textbook engine's messages, function by function."""

    def __init__(self, layout: TextbookLayout, picture: Masked, label_only: bool) -> None:
        self._layout, self._picture, self._label_only = layout, picture, label_only
        self._circuits = iter(layout.steps())

    def exchanges(self) -> Iterator[Exchange]:
        plan, step = self._layout.plan, next(self._circuits)
        yield Exchange(self._picture, Corrections(step))
        yield Exchange(Circuit(step, top=1), _shares(int(np.prod(plan.image_shape))))
        stages = self._layout.schedule.stages
        yield from self._pools(stages[0].pools)
        for stage in stages[1:]:
            for linear in stage.linear:
                yield from _products(self._taps(linear))
            for relu in stage.relus:
                yield from self._sact(relu)
            yield from self._pools(stage.pools)
        dense, step = plan.output, next(self._circuits)
        scores = _masked(dense.out_features, self._layout.sum_maskings[dense.name])
        yield Exchange(scores, Corrections(step) if self._label_only else ANSWERED)
        if self._label_only:
            yield Exchange(Circuit(step), ANSWERED)

    def _sact(self, relu: ReluStep) -> Iterator[Exchange]:
        plan = self._layout.plan
        count, masking = int(np.prod(plan.shapes[relu.source])), self._layout.sum_maskings[relu.source]
        yield from self._record(count, masking)
        step = next(self._circuits)
        yield Exchange(_masked(count, masking), Corrections(step))
        yield Exchange(Circuit(step, top=1), _shares(count))

    def _pools(self, pools: Sequence[PoolStep]) -> Iterator[Exchange]:
        for pool in pools:
            source = self._layout.schedule.pieces[pool.source]
            for members in pool_windows(pool, source.shape):
                if len(members) > 1:
                    yield from self._record(members.size, self._layout.masking(source.bits))

    def _record(self, count: int, masking: Masking) -> Iterator[Exchange]:
        step = next(self._circuits)
        yield Exchange(_masked(count, masking), Corrections(step))
        yield Exchange(Circuit(step), Ciphertexts("record_bits", "ciphertexts", count))
        yield from _products(count)

    def _taps(self, step: LinearStep) -> int:
        """Products of a layer whose factors are not padding."""
        shape, out = (self._layout.plan.shapes[name] for name in (step.node.source, step.node.name))
        ones = np.ones((shape[0], 1, *shape[1:]), np.uint64)
        return int(windows(ones, step.node).sum()) * out[0]


def import_of(layout: ImportLayout) -> Iterator[Exchange]:
    """From the first layer to the last."""
    for node in layout.plan.linear_nodes:
        parts = layout.parts(node)
        for part in parts:
            step = layout.step(part)
            sigma = layout.params.sigma
            masks = [(each.plaintexts, Masking(each.plaintext_mask_bits(sigma))) for each in part]
            yield Exchange(Masked("masked_plaintexts", masks), Corrections(step, extension=True))
            kept = sum(segment.count for segment in layout.segments(node))
            yield Exchange(Circuit(step, top=1), _shares(kept) if part is parts[-1] else DONE)


def _masked(count: int, masking: Masking) -> Masked:
    return Masked("masked_sums", [(count, masking)])


def _shares(count: int) -> Ciphertexts:
    return Ciphertexts("encrypted_shares", "ciphertexts", count)


def _products(count: int) -> Iterator[Exchange]:
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        yield Exchange(Operands(size), Ciphertexts("smp_products", "products", size))
