"""Irregular masks drawn by chance: brush walks, blobs and polygons, so many for each group of covered share.

The seed decides every mask. Each has a shape of its own, and a share drawn uniformly from its group.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from twinveil.errors import BadInput
from twinveil.pictures.masks import GROUPS, Mask, Size, group_of

Covered = npt.NDArray[np.bool_]
Shape = Callable[[ImageDraw.ImageDraw, Size, float, np.random.Generator], None]

_TRIES = 400
_MIN_SIDE = 8
"""Below 0.01-0.1 of fewer than 64 pixels there are hardly two masks."""


def draw_masks(size: Size, each: int, seed: int) -> list[Mask]:
    """`each` masks (height, width) for every group, in the groups' order, named NUMBER-STYLE.

    Raises BadInput for a size so small, or a number so large, that no new masks are found.
    """
    if min(size) < _MIN_SIDE or max(size) > 1024:
        raise BadInput(f"masks can be drawn from 8 to 1024 pixels a side, not {size[0]} x {size[1]}")
    if not 1 <= each <= 2000:
        raise BadInput(f"a group can have 1 to 2000 masks, not {each}")
    if not 0 <= seed < 1 << 63:
        raise BadInput("the masks' seed must be a number from 0 to 2^63 - 1")
    source = np.random.default_rng([seed, *size])
    masks: dict[str, Mask] = {}
    for group in range(len(GROUPS)):
        for number in range(each):
            style = tuple(SHAPES)[number % len(SHAPES)]
            for _ in range(_TRIES):
                mask = Mask(f"{len(masks) + 1:04d}-{style}", ~_draw(size, group, SHAPES[style], source))
                if mask.digest not in masks and group_of(mask) == group:
                    masks[mask.digest] = mask
                    break
            else:
                raise BadInput(f"{each} different masks a group do not exist at {size[0]} x {size[1]} pixels")
    return list(masks.values())


def _draw(size: Size, group: int, shape: Shape, source: np.random.Generator) -> Covered:
    """Shapes are laid over each other until they cover what was aimed at; the last ones ever smaller."""
    low, high = GROUPS[group]
    aim = float(source.uniform(low, high))
    extent = float(np.sqrt(aim))
    covered: Covered = np.zeros(size, dtype=bool)
    for _ in range(_TRIES):
        canvas = Image.fromarray(covered)
        shape(ImageDraw.Draw(canvas), size, extent, source)
        drawn = np.asarray(canvas).astype(bool)
        if drawn.mean() >= high:
            extent *= 0.7
            continue
        covered = drawn
        if covered.mean() >= aim:
            break
    return covered


def _brush(pen: ImageDraw.ImageDraw, size: Size, extent: float, source: np.random.Generator) -> None:
    """A walk of a round brush that turns as it goes."""
    shorter = min(size)
    radius = max(0.5, shorter * extent * source.uniform(0.05, 0.14))
    y, x = source.uniform(0, 1, 2) * size
    heading = source.uniform(0, 2 * np.pi)
    for _ in range(int(source.integers(2, 7))):
        heading += source.normal(0, 0.9)
        length = shorter * extent * source.uniform(0.15, 0.5)
        to_y, to_x = y + length * np.sin(heading), x + length * np.cos(heading)
        pen.line((x, y, to_x, to_y), fill=1, width=max(1, round(2 * radius)))
        for end_y, end_x in ((y, x), (to_y, to_x)):
            _ellipse(pen, end_y, end_x, radius, radius)
        y, x = np.clip(to_y, 0, size[0] - 1), np.clip(to_x, 0, size[1] - 1)


def _blobs(pen: ImageDraw.ImageDraw, size: Size, extent: float, source: np.random.Generator) -> None:
    """A few ellipses that grow out of each other."""
    shorter = min(size)
    y, x = source.uniform(0, 1, 2) * size
    for _ in range(int(source.integers(2, 5))):
        tall, wide = shorter * extent * source.uniform(0.08, 0.3, 2)
        _ellipse(pen, y, x, max(0.5, tall), max(0.5, wide))
        y, x = y + source.normal(0, max(0.5, tall)), x + source.normal(0, max(0.5, wide))


def _polygons(pen: ImageDraw.ImageDraw, size: Size, extent: float, source: np.random.Generator) -> None:
    """Corners around a centre, at distances of their own."""
    middle = source.uniform(0, 1, 2) * size
    corners = int(source.integers(3, 9))
    angles = np.sort(source.uniform(0, 2 * np.pi, corners))
    far = np.maximum(0.7, min(size) * extent * source.uniform(0.12, 0.6, corners))
    points = np.stack([middle[1] + far * np.cos(angles), middle[0] + far * np.sin(angles)], axis=1)
    pen.polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)


SHAPES: dict[str, Shape] = {"brush": _brush, "blobs": _blobs, "polygons": _polygons}


def _ellipse(pen: ImageDraw.ImageDraw, y: float, x: float, tall: float, wide: float) -> None:
    pen.ellipse((x - wide, y - tall, x + wide, y + tall), fill=1)
