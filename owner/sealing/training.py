"""What the three trainings share: options, progress, batches, and torch kept to one thread and one seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from owner.training.augmentation import Distortions, distort
from owner.training.threads import torch_threads
from twinveil.errors import BadInput

MILD = Distortions(degrees=8.0, shear=0.05, scale=0.08, shift=0.05, warp=0.01)
"""Faces bend less than digits."""

STRONG = Distortions(degrees=15.0, shear=0.1, scale=0.15, shift=0.08, warp=0.02)
"""For telling people apart, where pictures are few."""


@dataclass(frozen=True, slots=True)
class Options:
    """epochs: None for the network's own number. threads: of torch; a second one gains nothing here."""

    epochs: int | None = None
    seed: int = 1
    batch: int = 32
    threads: int = 1

    def __post_init__(self) -> None:
        if self.epochs is not None and not 1 <= self.epochs <= 10_000:
            raise BadInput(f"epochs must be 1 to 10000, not {self.epochs}")
        if not 0 <= self.seed < 1 << 63 or not 2 <= self.batch <= 1024 or not 1 <= self.threads <= 256:
            raise BadInput("the seed, the batch or the number of threads is out of range")


@contextmanager
def seeded(options: Options) -> Iterator[torch.Generator]:
    """torch with the options' seed and threads; as it was before afterwards."""
    with torch_threads(options.threads), torch.random.fork_rng():
        torch.manual_seed(options.seed)
        yield torch.Generator().manual_seed(options.seed)


class Batches:
    """Epochs of distorted pictures, 0 .. 255 as floats (n, 1, side, side), half of them mirrored."""

    def __init__(
        self,
        squares: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        options: Options,
        distortions: Distortions = MILD,
    ) -> None:
        self._distortions = distortions
        self._pixels = torch.from_numpy(squares).float()[:, None]
        self._labels = torch.from_numpy(labels)
        self._size = min(options.batch, len(squares))

    def epoch(self, source: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._pixels), generator=source)
        count = len(order) // self._size
        for places in order[: count * self._size].reshape(count, self._size):
            pixels = distort(self._pixels[places], self._distortions, source)
            mirrored = torch.rand(len(places), generator=source) < 0.5
            pixels[mirrored] = pixels[mirrored].flip(3)
            yield pixels, self._labels[places]
