"""Pictures: from a file of any common kind to the integers that a model was trained on.

    decode - EXIF rotation - 8 bits - alpha - grey or colour - centre crop - polarity - resize

The same function makes training pictures and queries, so that both are cropped alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from twinveil.errors import BadInput
from twinveil.network.card import Polarity
from twinveil.network.plan import Shape
from twinveil.pictures.decoding import open_picture
from twinveil.values import check_word

Picture = npt.NDArray[np.uint8]
"""(channels, height, width)"""

Source = str | PathLike[str] | bytes | npt.NDArray[np.uint8]
"""Of a picture: a file, its content, or an array that has the model's shape already."""

Invert = Literal["auto", "never", "always"]

CROP = "centre crop to the target's aspect, then resized (Lanczos)"


class WantsPictures(Protocol):
    """What both a ModelCard and a PictureSpec say."""

    @property
    def image_shape(self) -> Shape: ...

    @property
    def polarity(self) -> Polarity: ...


def load_picture(source: str | Path | bytes, wanted: WantsPictures, invert: Invert = "auto") -> Picture:
    """A picture as the model wants it: uint8 (channels, height, width).

    Colour becomes grey by ITU-R 601 for a grey model, grey is tripled for a colour one; 16 bits are scaled to
    8; alpha is flattened against black or white, whichever is further from what is opaque; of several frames
    or pages the first counts.
    invert "auto": if the model's polarity is known and the median of the crop's border is on its wrong
    side of mid-grey, the picture is inverted; "never" and "always" decide by themselves.
    Raises BadImage, naming the file, for anything that is no picture, is damaged, empty or far too large.
    """
    return from_pillow(open_picture(source), wanted, invert)


def from_pillow(image: Image.Image, wanted: WantsPictures, invert: Invert = "auto") -> Picture:
    """Crop, invert if need be and resize a decoded 8-bit picture: uint8 (channels, height, width)."""
    check_word("invert", invert, Invert)
    channels, height, width = wanted.image_shape
    image = _in_mode(image, "L" if channels == 1 else "RGB")
    box = _centre(image.size, (width, height))
    if invert == "always" or (invert == "auto" and _is_inverted(image, box, wanted.polarity)):
        image = ImageOps.invert(image)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    pixels = np.asarray(image, dtype=np.uint8)
    planes = pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


def _centre(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest centred box (left, top, right, bottom) of `size` with the aspect of `target`."""
    scale = min(size[0] / target[0], size[1] / target[1])
    # The side that fits exactly must not end outside by a rounding: Pillow refuses such a box.
    left, top = (max(0.0, (side - scale * wanted) / 2) for side, wanted in zip(size, target, strict=True))
    return left, top, size[0] - left, size[1] - top


def _is_inverted(image: Image.Image, box: tuple[float, float, float, float], polarity: Polarity) -> bool:
    if polarity == "any":
        return False
    left, top, right, bottom = (round(edge) for edge in box)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    edges = (
        (left, top, right, top + 1),
        (left, bottom - 1, right, bottom),
        (left, top, left + 1, bottom),
        (right - 1, top, right, bottom),
    )
    border = [np.asarray(_in_mode(image.crop(edge), "L")).ravel() for edge in edges]
    is_light = float(np.median(np.concatenate(border))) > 127.5
    return is_light == (polarity == "light-on-dark")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Pillow copies even a picture that is in this mode."""
    return image if image.mode == mode else image.convert(mode)


def to_terminal(picture: Picture, colour: bool = True) -> str:
    """A picture as lines of half blocks, two rows of pixels a line; ANSI 24-bit colours if `colour`.

    rich shows it through `rich.text.Text.from_ansi`. Without colours, pixels above mid-grey are drawn.
    """
    planes = np.broadcast_to(picture, (3, *picture.shape[1:])) if len(picture) == 1 else picture
    if planes.shape[1] % 2:
        planes = np.pad(planes, ((0, 0), (0, 1), (0, 0)))
    pixels = planes.transpose(1, 2, 0)
    draw = _coloured if colour else _plain
    return "\n".join(draw(top, bottom) for top, bottom in zip(pixels[::2], pixels[1::2], strict=True))


def _coloured(top: Picture, bottom: Picture) -> str:
    cells = []
    for upper, lower in zip(top.tolist(), bottom.tolist(), strict=True):
        cells.append("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*upper, *lower))
    return "".join(cells) + "\x1b[0m"


def _plain(top: Picture, bottom: Picture) -> str:
    glyphs = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
    upper, lower = top.mean(axis=1) > 127.5, bottom.mean(axis=1) > 127.5
    return "".join(glyphs[bool(u), bool(v)] for u, v in zip(upper, lower, strict=True))


def several(sources: Source | Iterable[Source]) -> list[str | Path | bytes | npt.NDArray[np.uint8]]:
    """Pictures as a list, and so is one alone. Raises BadInput for what is no picture's source."""
    is_array = isinstance(sources, np.ndarray) and sources.ndim == 3
    if is_array or isinstance(sources, str | PathLike | bytes):
        return [_source(sources)]
    return [_source(each) for each in sources]


def _source(given: object) -> str | Path | bytes | npt.NDArray[np.uint8]:
    if isinstance(given, str | bytes | np.ndarray):
        return given
    if isinstance(given, PathLike):
        return Path(given)
    raise BadInput(f"a picture is a path, a file's content or an array, not {type(given).__name__}")
