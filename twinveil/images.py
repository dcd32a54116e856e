"""Pictures: from a file of any common kind to the integers that a model was trained on.

    decode - EXIF rotation - 8 bits - alpha - grey or colour - centre crop - polarity - resize

The same function makes training pictures and queries, so that both are cropped alike.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from twinveil.calls import check_word
from twinveil.card import Polarity
from twinveil.errors import BadImage
from twinveil.plan import Shape

Picture = npt.NDArray[np.uint8]
"""(channels, height, width)"""

Invert = Literal["auto", "never", "always"]

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
"""Some 67 million: larger than any camera's picture worth shrinking, small enough to decode."""

_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself; others would start external programs."""

# Pillow warns of what MAX_PIXELS refuses anyway; its warning would be a second line.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

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
    8; alpha is flattened against black or white, whichever is further from what is opaque.
    invert "auto": if the model's polarity is known and the median of the crop's border is on its wrong
    side of mid-grey, the picture is inverted; "never" and "always" decide by themselves.
    Raises BadImage, naming the file, for anything that is no picture, is damaged, empty or far too large.
    """
    image = open_picture(source).convert("L" if wanted.image_shape[0] == 1 else "RGB")
    return from_pillow(image, wanted, invert)


def open_picture(source: str | Path | bytes) -> Image.Image:
    """A picture of any common kind: upright, 8 bits, without alpha, at its own size. Raises BadImage."""
    label = "the picture" if isinstance(source, bytes) else str(source)
    return _flat(_eight_bits(_decode(_content(source, label), label), label), label)


def from_pillow(image: Image.Image, wanted: WantsPictures, invert: Invert = "auto") -> Picture:
    """Crop, invert if need be and resize a decoded 8-bit picture: uint8 (channels, height, width)."""
    check_word("invert", invert, Invert)
    channels, height, width = wanted.image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    box = _centre(image.size, (width, height))
    if invert == "always" or (invert == "auto" and _is_inverted(image, box, wanted.polarity)):
        image = ImageOps.invert(image)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    pixels = np.asarray(image, dtype=np.uint8)
    planes = pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


def stored_picture(source: str | Path | bytes) -> Image.Image:
    """The picture in a file or its content, upright and otherwise as it is stored. Raises BadImage."""
    label = "the picture" if isinstance(source, bytes) else str(source)
    return _decode(_content(source, label), label)


def _content(source: str | Path | bytes, label: str) -> bytes:
    if isinstance(source, bytes):
        content = source
    else:
        try:
            with open(source, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise BadImage(f"{label} cannot be read: {error.strerror or error}") from error
    if not content:
        raise BadImage(f"{label} is empty")
    if len(content) > MAX_FILE_BYTES:
        raise BadImage(f"{label} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return content


def _decode(content: bytes, label: str) -> Image.Image:
    """The first frame, upright."""
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"{label} is far too large to be opened") from error
    except Exception as error:  # decoders of foreign bytes raise anything
        raise BadImage(f"{label} is not a picture of a known kind (png, jpeg, pgm, ...)") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{label} is far too large: {image.width} x {image.height} pixels")
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        raise BadImage(f"{label} is damaged") from error


def _eight_bits(image: Image.Image, label: str) -> Image.Image:
    """16-bit grey scaled to 8 bits, rounded; everything else is 8-bit already."""
    if image.mode == "F":
        raise BadImage(f"{label} has floating-point pixels; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
    return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))


def _flat(image: Image.Image, label: str) -> Image.Image:
    """Without alpha. Dark strokes on nothing come out on white, light ones on black: none vanishes."""
    if not image.has_transparency_data:
        return image
    rgba = np.asarray(image.convert("RGBA"), dtype=np.float64)
    colour, alpha = rgba[..., :3], rgba[..., 3:] / 255
    if not alpha.any():
        raise BadImage(f"{label} is wholly transparent")
    light = (colour * alpha).sum() / (3 * alpha.sum()) >= 128
    background = 0 if light and (alpha < 1).any() else 255
    blended = np.rint(colour * alpha + background * (1 - alpha))
    return Image.fromarray(blended.astype(np.uint8))


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
    pixels = np.asarray(image.convert("L"))[top : max(bottom, top + 1), left : max(right, left + 1)]
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    is_light = float(np.median(border)) > 127.5
    return is_light == (polarity == "light-on-dark")


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
