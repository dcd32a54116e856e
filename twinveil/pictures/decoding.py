"""Files of any common kind, or their content, as Pillow's pictures; whatever nobody trusts is opened here.

    bytes - PNG's texts left out - first frame - EXIF orientation - 8 bits - alpha

The last two go through a picture a strip at a time: what is decoded is never there twice as wide numbers.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from twinveil.errors import BadImage

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
"""Some 67 million: larger than any camera's picture worth shrinking, small enough to decode."""

_FORMATS = ("PNG", "JPEG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
"""Formats that Pillow decodes by itself; others would start external programs."""

_STRIP_PIXELS = 1 << 17

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts of a PNG that may say how it is turned."""

_SAMPLE_FORMAT, _SIGNED = 339, 2
"""A TIFF's tag, of which Pillow has no name, and its value for pixels with a sign."""

_EXIF = b"Exif\0\0"
_UNSIGNED = {1: "B", 3: "H", 4: "I"}
"""How struct names the kinds of numbers in EXIF that an orientation may have."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation."""

_REFUSED = {
    "F": "floating-point pixels",
    "signed": "pixels of 32 bits, or signed ones",
    "negative": "16 bits a pixel of which 0 is white",
    "La": "grey multiplied by its alpha",
    "LAB": "CIELAB colours",
}

# What Pillow warns of is refused here, or is no matter for pixels; its warnings name its own files.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_picture(source: str | Path | bytes) -> Image.Image:
    """A picture of any common kind: upright, 8 bits, without alpha, at its own size. Raises BadImage."""
    label = _label(source)
    return _flat(_eight_bits(stored_picture(source), label), label)


def stored_picture(source: str | Path | bytes) -> Image.Image:
    """The first frame of a file or its content, upright and otherwise as it is stored. Raises BadImage."""
    label = _label(source)
    image = _opened(_content(source, label), label)
    try:
        # Pillow turns TIFFs as it loads them, and other tags of odd types would break that.
        turns = [_take_turn(image)] if image.format == "TIFF" else []
        image.load()
        turn = turns[0] if turns else _take_turn(image)
        return image if turn is None else image.transpose(turn)
    except Exception as error:  # decoders of foreign bytes raise anything
        raise BadImage(f"{label} is damaged") from error


def _label(source: str | Path | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)


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


def _opened(content: bytes, label: str) -> Image.Image:
    """Header and all, but no pixels yet."""
    try:
        image = Image.open(io.BytesIO(_without_texts(content)), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"{label} is far too large to be opened") from error
    except Exception as error:  # decoders of foreign bytes raise anything
        raise BadImage(f"{label} {_why_not(content)}") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{label} is far too large: {image.width} x {image.height} pixels")
    if (refused := _refused(image)) is not None:
        raise BadImage(f"{label} has {refused}; save it as grey or RGB with 8 or 16 bits")
    return image


def _without_texts(content: bytes) -> bytes:
    """A PNG without texts and colour profile, which Pillow would unpack, and refuse if they are large."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    view = memoryview(content)
    kept, start = [view[:8]], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(view[start : start + 4])
        kind, text = bytes(view[start + 4 : start + 8]), bytes(view[start + 8 : start + 32])
        if kind not in _TEXTS or text.startswith(_ORIENTING):
            kept.append(view[start:end])
        start = len(content) if kind == b"IEND" else end
    return b"".join(kept)


def _why_not(content: bytes) -> str:
    """What to say of a file that cannot be opened, by how it begins."""
    for name in _FORMATS:
        accept = Image.OPEN[name][1]
        if accept is not None and accept(content[:16]):
            return f"is damaged, or a {name} of a rare kind: save it as PNG with 8 bits"
    return "is not a picture of a known kind (png, jpeg, pgm, ...)"


def _refused(image: Image.Image) -> str | None:
    """What a picture has for pixels if they cannot be brought to 8 bits."""
    if image.format == "TIFF":
        if image.mode == "I" or _first(image, _SAMPLE_FORMAT) == _SIGNED:  # Pillow reads -1 of 8 bits as 255
            return _REFUSED["signed"]
        if image.mode.startswith("I;16") and _first(image, ExifTags.Base.PhotometricInterpretation) == 0:
            return _REFUSED["negative"]  # which Pillow turns round with 8 bits only
    return _REFUSED.get(image.mode)


def _first(image: Any, tag: int) -> object:
    """The first value of a TIFF's tag; None where there is none, or none that can be read."""
    with suppress(Exception):  # tags are as foreign as pixels
        value = image.tag_v2.get(tag)
        return value[0] if isinstance(value, tuple) else value
    return None


def _take_turn(image: Image.Image) -> Image.Transpose | None:
    """How EXIF or XMP says that a picture is to be turned; what other tags hold is of no matter."""
    orientation = None
    with suppress(struct.error):
        orientation = _orientation(image.info.get("exif", b""))
    with suppress(Exception):  # tags are as foreign as pixels
        exif = image.getexif()
        if orientation is None:
            orientation = exif.get(ExifTags.Base.Orientation)
        for tag in list(exif):
            del exif[tag]
    return None if orientation is None else _TURNS.get(orientation)


def _orientation(exif: bytes) -> int | None:
    """Of the first directory; Pillow would not get there behind a tag whose value is beyond the end."""
    body = exif.removeprefix(_EXIF).removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(body[:4])
    if order is None:
        return None
    (start,) = struct.unpack_from(order + "I", body, 4)
    (tags,) = struct.unpack_from(order + "H", body, start)
    for at in range(start + 2, start + 2 + 12 * tags, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", body, at)
        if tag == ExifTags.Base.Orientation and kind in _UNSIGNED and count == 1:
            return int(struct.unpack_from(order + _UNSIGNED[kind], body, at + 8)[0])
    return None


def _eight_bits(image: Image.Image, label: str) -> Image.Image:
    """16-bit grey scaled to 8 bits, rounded; everything else is 8-bit already."""
    if not image.mode.startswith("I"):
        return image
    grey = Image.new("L", image.size)
    brightest = 0
    for top, strip in _strips(image):
        levels = strip.astype(np.uint32)
        brightest = max(brightest, int(levels.max()))
        grey.paste(Image.fromarray(((levels + 128) // 257).astype(np.uint8)), (0, top))
    if 0 < brightest < 1 << 12:
        _say_dark(label)
    return grey


_has_said_dark = threading.Event()


def _say_dark(label: str) -> None:
    """Once: what is true of one picture is true of all that its camera makes."""
    if not _has_said_dark.is_set():
        _has_said_dark.set()
        log.warning("%r uses at most 12 of its 16 bits a pixel: it is read as it is, dark", label)


def _flat(image: Image.Image, label: str) -> Image.Image:
    """Without alpha. Dark strokes on nothing come out on white, light ones on black: none vanishes."""
    if not image.has_transparency_data:
        return image
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    seen = weight = 0
    for _, strip in _strips(image):
        alpha = strip[..., 3].astype(np.uint64)
        weight += int(alpha.sum())
        seen += int((strip[..., :3].sum(axis=2, dtype=np.uint64) * alpha).sum())
    if not weight:
        raise BadImage(f"{label} is wholly transparent")
    ground = 0 if seen >= 3 * 128 * weight else 255
    flat = Image.new("RGB", image.size, (ground, ground, ground))
    flat.paste(image, mask=image)  # rounds to the nearest
    return flat


def _strips(image: Image.Image) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The rows of a picture, some at a time, and where they begin."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        yield top, np.asarray(image.crop((0, top, image.width, bottom)))
