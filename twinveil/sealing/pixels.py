"""From any picture file to what is sealed (PNG, lossless), and on to grey squares in integers only.

A device decodes, turns upright and shrinks what a camera gives before it seals; the PNG that travels gives
every decoder the same pixels, and from them on both sides compute alike.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from twinveil.errors import BadImage
from twinveil.pictures.decoding import open_picture
from twinveil.sealing.integers import ONE, Integers, root

Pixels = npt.NDArray[np.uint8]
"""(height, width) grey or (height, width, 3)."""

LONGEST_SIDE = 512
MOST_BYTES = 1 << 20
SHORTEST_SIDE = 8
LEAST_CONTRAST = 4
"""A standard deviation below this many of 255 grey levels is no picture of anything."""


def to_png(source: str | Path | bytes) -> bytes:
    """A picture file as it is sealed: PNG, grey or colour, at most LONGEST_SIDE long. Raises BadImage."""
    image = open_picture(source)
    image = image.convert("L" if image.mode in ("1", "L", "LA", "I", "I;16") else "RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if min(image.size) < SHORTEST_SIDE:
        raise BadImage(f"a picture of {image.width} x {image.height} pixels is too small to be sealed")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def from_png(png: bytes) -> Pixels:
    """The pixels of a sealed picture. Raises BadImage for anything that `to_png` does not write."""
    if len(png) > MOST_BYTES:
        raise BadImage("a sealed picture is larger than any that is written")
    try:
        image = Image.open(io.BytesIO(png), formats=("PNG",))
        if (
            image.mode not in ("L", "RGB")
            or max(image.size) > LONGEST_SIDE
            or min(image.size) < SHORTEST_SIDE
        ):
            raise BadImage("a sealed picture has another size or kind than is written")
        image.load()
    except BadImage:
        raise
    except Exception as error:  # decoders of foreign bytes raise anything
        raise BadImage("a sealed picture is damaged") from error
    return np.asarray(image, dtype=np.uint8)


def grey_square(pixels: Pixels, side: int) -> Integers:
    """The centre square in grey, (side, side), 0 .. 255: each value the mean of what it covers, rounded."""
    grey = pixels.astype(np.int64)
    if grey.ndim == 3:
        grey = (299 * grey[..., 0] + 587 * grey[..., 1] + 114 * grey[..., 2] + 500) // 1000
    size = min(grey.shape)
    top, left = (grey.shape[0] - size) // 2, (grey.shape[1] - size) // 2
    grey = grey[top : top + size, left : left + size]
    shares = _shares(size, side)
    sums: Integers = shares @ grey @ shares.T
    return np.asarray((sums + size * size // 2) // (size * size), dtype=np.int64)


def binarised(square: Integers) -> Integers:
    """The Bernoulli picture: ONE where a pixel is lighter than the picture's mean, else 0."""
    return np.where(square * square.size > square.sum(), ONE, 0).astype(np.int64)


def signed(square: Integers) -> Integers:
    """Scaled to -1 .. 1."""
    return ((2 * square - 255) * ONE) // 255


def normalised(square: Integers) -> Integers:
    """Mean 0 and deviation 1, clipped to +-4. Raises BadImage for a picture without contrast."""
    count = square.size
    centred = square * count - square.sum()
    variance = (centred * centred // (count * count)).sum() // count
    if variance < LEAST_CONTRAST * LEAST_CONTRAST:
        raise BadImage("the picture shows nothing: it has hardly any contrast")
    deviation = int(root(np.array([variance << 16], dtype=np.int64))[0])  # 8 bits after the point
    values = ((centred << 8) * ONE) // (count * deviation)
    return np.asarray(np.clip(values, -4 * ONE, 4 * ONE), dtype=np.int64)


def _shares(size: int, side: int) -> Integers:
    """(side, size): how much of input pixel j, of `side` parts, output pixel i covers; rows sum to size."""
    starts, inputs = np.arange(side)[:, None] * size, np.arange(size)[None, :] * side
    overlap = np.minimum(starts + size, inputs + side) - np.maximum(starts, inputs)
    return np.asarray(np.maximum(overlap, 0), dtype=np.int64)
