"""Small networks, two classes of pictures, and the recorded views of many queries, all in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tests.crypto.crypto_keys import secret_key
from twinveil.network.plan import Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.rehearsal.clouds import Clouds
from twinveil.rounds.observer import Observer
from twinveil.views.recorder import Recording
from twinveil.views.view import View

Picture = npt.NDArray[np.uint8]

PLAN = Plan(
    (1, 6, 6),
    8,
    (
        Conv("conv", "image", 2, (3, 3), 1, 0, 8, 22),
        Relu("relu", "conv", 6, 8),
        MaxPool("pool", "relu", 2, 2, 0),
        Dense("dense", "pool", 3, 8, 22),
    ),
    0,
)
"""Every function once: SCVL, SACT, SMAP, SCT; a picture with room for strokes."""

TINY = Plan(
    (1, 3, 3),
    8,
    (
        Conv("conv", "image", 2, (2, 2), 1, 0, 8, 20),
        Relu("relu", "conv", 4, 8),
        MaxPool("pool", "relu", 2, 1, 0),
        Dense("dense", "pool", 2, 8, 20),
    ),
    0,
)
"""The same in very small; small enough for the textbook engine, too."""


def model(plan: Plan = TINY, seed: int = 0, fill: int | None = None) -> QuantisedModel:
    """Random weights and biases, or all of them `fill`."""
    source = np.random.default_rng(seed)
    low, high = (-128, 128) if fill is None else (fill, fill + 1)
    shapes = {node.name: plan.weight_shape(node) for node in plan.linear_nodes}
    return QuantisedModel(
        plan,
        {name: source.integers(low, high, shape, dtype=np.int64) for name, shape in shapes.items()},
        {name: source.integers(low, high, shape[:1], dtype=np.int64) for name, shape in shapes.items()},
    )


def digit(kind: int, seed: int, plan: Plan = TINY) -> Picture:
    """A bright stroke on black: upright (kind 0) or lying (kind 1), with a little noise in its brightness."""
    made = np.zeros(plan.image_shape, np.uint8)
    side = plan.image_shape[1]
    stroke = np.random.default_rng(seed).integers(180, 256, (side, 2 * side // 3), dtype=np.uint8)
    made[0, :, : stroke.shape[1]] = stroke
    return made if kind == 0 else np.ascontiguousarray(made.transpose(0, 2, 1))


@dataclass
class Watched:
    """views: by cloud, in the order of the conversations' ends."""

    views: dict[str, list[View]] = field(default_factory=lambda: {"cloud_s1": [], "cloud_s2": []})

    def observer(self, role: str) -> Observer:
        return Recording(role, self.views[role].append)

    def queries(self, role: str) -> list[View]:
        return self.kind(role, "query")

    def kind(self, role: str, part: str) -> list[View]:
        """Imports, queries, or items: without the opening of their conversation, and without its first."""
        return [view for view in self.views[role] if view.part == part]


def watch(
    pictures: Sequence[Picture],
    network: QuantisedModel | None = None,
    *,
    engine: str = "packed",
    label_only: bool = False,
    key_bits: int = 256,
    batch: int = 1,
) -> Watched:
    """The views of an import, of a query for each picture, of `batch` copies of it, and of their items."""
    watched = Watched()
    clouds = Clouds(network or model(TINY), secret_key(key_bits), (engine,), observer=watched.observer)
    for picture in pictures:
        clouds.classify(np.repeat(picture[np.newaxis], batch, axis=0), engine, label_only)
    return watched


def two_classes(each: int, plan: Plan = TINY) -> list[Picture]:
    """Kind 0, kind 1, kind 0, and so on."""
    return [digit(number % 2, number, plan) for number in range(2 * each)]
