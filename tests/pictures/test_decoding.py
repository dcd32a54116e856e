"""What files hold beside pixels breaks no picture; how pictures are decoded costs little memory, silently."""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twinveil.errors import BadImage
from twinveil.network.card import PictureSpec
from twinveil.pictures import decoding
from twinveil.pictures.files import load_picture

# Pytest has its own filters; without them nothing is said, as the last test here shows.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Pixels = npt.NDArray[np.uint8]

WIDE = Image.fromarray(np.arange(128, dtype=np.uint8).reshape(8, 16) * 2)
TURNED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: lambda p: np.rot90(p),
}
"""By EXIF orientation: a picture as it is stored -> upright."""


class Tag(NamedTuple):
    number: int
    kind: int
    count: int
    value: bytes


def directory(tags: list[Tag], start: int) -> bytes:
    """An image file directory, little-endian, at the offset `start`, with what its tags point at."""
    fields, beyond = struct.pack("<H", len(tags)), b""
    for tag in sorted(tags):
        value = tag.value.ljust(4, b"\0")
        if len(tag.value) > 4:
            value = struct.pack("<I", start + 2 + 12 * len(tags) + 4 + len(beyond))
            beyond += tag.value
        fields += struct.pack("<HHI", *tag[:3]) + value
    return fields + bytes(4) + beyond


def short(number: int, value: int) -> Tag:
    return Tag(number, 3, 1, struct.pack("<H", value))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_exif(kind: str, tags: list[Tag]) -> bytes:
    """WIDE as a file of `kind` with these tags."""
    if kind == "TIFF":
        pixels = np.asarray(WIDE).tobytes()
        size = [short(256, 16), short(257, 8), short(258, 8), short(259, 1), short(262, 1)]
        place = [short(273, 8), short(277, 1), short(278, 8), short(279, len(pixels))]
        start = 8 + len(pixels)
        return b"II*\0" + struct.pack("<I", start) + pixels + directory(size + place + tags, start)
    exif = b"II*\0\x08\0\0\0" + directory(tags, 8)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    image = WIDE.convert("RGB") if kind == "WEBP" else WIDE
    return encoded(image, kind, exif=b"Exif\0\0" + exif if kind == "JPEG" else exif, **options)


def pixels_of(content: bytes, channels: int = 1) -> Pixels:
    """At the picture's own size, so that nothing but decoding happens."""
    width, height = decoding.stored_picture(content).size
    picture = load_picture(content, PictureSpec((channels, height, width)))
    return picture[0] if channels == 1 else picture.transpose(1, 2, 0)


SIZES = {0: 1, 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 77: 1}


def whole(tag: Tag) -> Tag:
    """With all of its value: a TIFF that ends before one is damaged, a photograph with such EXIF is not."""
    return tag._replace(count=len(tag.value) // SIZES[tag.kind])


ODD_TAGS = st.builds(
    Tag,
    st.sampled_from([270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34665, 34675, 34853, 37500]),
    st.sampled_from(sorted(SIZES)),
    st.sampled_from([0, 1, 2, 9, 1 << 20, (1 << 32) - 1]),
    st.binary(max_size=24),
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF"]),
    st.integers(1, 8),
    st.lists(ODD_TAGS, max_size=3, unique_by=lambda tag: tag.number),
)
def test_whatever_other_tags_hold_a_picture_is_turned_upright(
    kind: str, orientation: int, odd: list[Tag]
) -> None:
    odd = [whole(tag) for tag in odd] if kind == "TIFF" else odd
    stored = pixels_of(with_exif(kind, []))
    upright = pixels_of(with_exif(kind, [short(274, orientation), *odd]))
    assert (upright == TURNED[orientation](stored)).all()


@pytest.mark.parametrize(
    "odd",
    [
        Tag(271, 12, 1, struct.pack("<d", 1.5)),
        Tag(700, 2, 8, b"<x:xmp/>"),
        Tag(282, 2, 3, b"72\0"),
        Tag(34665, 2, 4, b"here"),
        Tag(34853, 5, 0, b""),
    ],
    ids=["make-a-number", "xmp-a-text", "resolution-a-text", "exif-a-text", "gps-nothing"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_tags_of_odd_types_seen_in_photographs(kind: str, odd: Tag) -> None:
    upright = pixels_of(with_exif(kind, [short(274, 6), odd]))
    assert (upright == TURNED[6](pixels_of(with_exif(kind, [])))).all()


@pytest.mark.parametrize(
    "orientation", [Tag(274, 2, 2, b"6\0"), short(274, 9), short(274, 0), Tag(274, 3, 0, b"")]
)
def test_an_orientation_that_makes_no_sense_turns_nothing(orientation: Tag) -> None:
    for kind in ("PNG", "JPEG", "TIFF"):
        assert pixels_of(with_exif(kind, [orientation])).shape == (8, 16)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LARGE = zlib.compress(bytes(2 << 20))


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"zTXt", b"Comment\0\0" + LARGE),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + LARGE),
        chunk(b"iCCP", b"camera\0\0" + LARGE),
        chunk(b"iCCP", b"camera\0\7" + LARGE),
        chunk(b"tEXt", b"Comment\0" + bytes(1 << 16)) * 1100,
        chunk(b"tEXt", b"Comment\0short")[:-1] + b"?",
    ],
    ids=["packed", "international", "profile", "profile-of-no-kind", "65-MiB", "damaged"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_texts_and_profiles_of_a_png_are_no_matter(
    text: bytes, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.pictures.decoding.MAX_FILE_BYTES", 1 << 27)
    plain = encoded(WIDE)
    at = 33 if place == "before" else len(plain) - 12
    assert (pixels_of(plain[:at] + text + plain[at:]) == np.asarray(WIDE)).all()


@pytest.mark.parametrize("text", [b"XML:com.adobe.xmp\0\0\0\0\0", b"Raw profile type exif\0"])
def test_a_text_that_turns_a_png_is_read(text: bytes) -> None:
    if text.startswith(b"XML"):
        content = chunk(b"iTXt", text + b'<rdf tiff:Orientation="6"/>')
    else:
        exif = b"II*\0\x08\0\0\0" + directory([short(274, 6)], 8)
        content = chunk(b"tEXt", text + f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode())
    plain = encoded(WIDE)
    assert (pixels_of(plain[:33] + content + plain[33:]) == TURNED[6](np.asarray(WIDE))).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["RGBA", "LA", "P", "L-keyed", "RGB-keyed"]),
    st.sampled_from([(0, 256), (0, 2), (120, 136), (250, 256)]),
    st.integers(1, 200),
)
def test_alpha_is_flattened_as_in_real_numbers(
    width: int, height: int, mode: str, levels: tuple[int, int], strip: int
) -> None:
    source = np.random.default_rng(width + 41 * height)
    pixels = source.integers(*levels, (height, width, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 200
    image = Image.fromarray(pixels)
    match mode:
        case "P":
            image = image.convert("RGB").quantize(8)
            content = encoded(image, transparency=bytes([0, 90, 180, 255, 1]))
        case "L-keyed":
            content = encoded(image.convert("L"), transparency=int(levels[0]))
        case "RGB-keyed":
            content = encoded(image.convert("RGB"), transparency=tuple(pixels[-1, -1, :3].tolist()))
        case _:
            content = encoded(image.convert(mode))
    rgba = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"), dtype=np.float64)
    colour, alpha = rgba[..., :3], rgba[..., 3:] / 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twinveil.pictures.decoding._STRIP_PIXELS", strip)
        if not alpha.any():
            with pytest.raises(BadImage, match="wholly transparent"):
                pixels_of(content, 3)
            return
        found = pixels_of(content, 3)
    light = (rgba[..., :3] * rgba[..., 3:]).sum() >= 128 * 3 * rgba[..., 3].sum()
    ground = 0 if light else 255
    assert (found == np.rint(colour * alpha + ground * (1 - alpha))).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_strip_by_strip(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.pictures.decoding._STRIP_PIXELS", 7)
    levels = np.random.default_rng(3).integers(0, 1 << 16, (11, 6), dtype=np.uint16)
    found = pixels_of(encoded(Image.fromarray(levels), kind))
    assert (found == np.rint(levels.astype(np.float64) * 255 / 65535)).all()


def tiff(bits: int, form: int, samples: int, photometric: int, pixels: bytes) -> bytes:
    """A square TIFF of 4 x 4 pixels. form: 1 unsigned, 2 signed, 3 floating-point."""
    tags = [short(256, 4), short(257, 4), short(259, 1), short(262, photometric), short(273, 8)]
    tags += [short(277, samples), short(278, 4), short(279, len(pixels))]
    tags += [
        Tag(number, 3, samples, struct.pack("<H", value) * samples)
        for number, value in ((258, bits), (339, form))
    ]
    start = 8 + len(pixels)
    return b"II*\0" + struct.pack("<I", start) + pixels + directory(tags, start)


@pytest.mark.parametrize(
    ("bits", "form", "samples", "photometric", "reason"),
    [
        (32, 1, 1, 1, "32 bits, or signed"),
        (32, 2, 1, 1, "32 bits, or signed"),
        (16, 2, 1, 1, "32 bits, or signed"),
        (8, 2, 1, 1, "32 bits, or signed"),
        (16, 1, 1, 0, "16 bits a pixel of which 0 is white"),
        (32, 3, 1, 1, "floating-point"),
        (8, 1, 3, 8, "CIELAB"),
        (64, 1, 1, 1, "rare kind"),
    ],
)
def test_pixels_that_are_no_8_or_16_bits_are_refused(
    bits: int, form: int, samples: int, photometric: int, reason: str
) -> None:
    content = tiff(bits, form, samples, photometric, bytes([9]) * (16 * samples * bits // 8))
    for channels in (1, 3):
        with pytest.raises(BadImage, match=reason) as refused:
            load_picture(content, PictureSpec((channels, 4, 4)))
        assert "save it as" in str(refused.value)


def test_what_is_cut_off_is_damaged_and_no_unknown_kind() -> None:
    for content in (
        encoded(WIDE)[:20],
        encoded(WIDE, "JPEG")[:12],
        encoded(WIDE, "GIF")[:9],
        b"P5 0 5 255\n",
    ):
        with pytest.raises(BadImage, match="is damaged"):
            load_picture(content, PictureSpec((1, 8, 8)))


def test_twelve_bits_in_sixteen_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.pictures.decoding._has_said_dark", decoding.threading.Event())
    for name, level in (("bright", 4096), ("black", 0), ("dark", 4095), ("darker", 80)):
        Image.fromarray(np.full((9, 9), level, np.uint16)).save(tmp_path / f"{name}.png")
    with caplog.at_level(logging.WARNING):
        for name in ("bright", "black"):
            load_picture(tmp_path / f"{name}.png", PictureSpec((1, 9, 9)))
        assert not caplog.records
        assert (load_picture(tmp_path / "dark.png", PictureSpec((1, 9, 9))) == 16).all()
        load_picture(tmp_path / "darker.png", PictureSpec((1, 9, 9)))
    [said] = caplog.messages
    assert "dark.png" in said
    assert "12 of its 16 bits" in said


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (9, 9), (level,) * 3) for level in (40, 90, 200)]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels_of(content) == 40).all()


MEASURED = """
import sys
from pathlib import Path
from twinveil.network.card import PictureSpec
from twinveil.errors import BadImage
from twinveil.pictures.files import load_picture

def peak():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10

spec = PictureSpec((3, 28, 28), "light-on-dark")
small, bomb, *large = sys.argv[1:]
load_picture(small, spec)
try:
    load_picture(bomb, spec)
except BadImage as error:
    print(error)
before = peak()
for path in large:
    load_picture(path, spec)
print(peak() - before)
"""


def test_decoding_takes_few_bytes_a_pixel_and_says_nothing(tmp_path: Path) -> None:
    width, height = 1600, 1000
    levels = np.add.outer(np.arange(height) % 251, np.arange(width) % 241).astype(np.uint8)
    grey = Image.fromarray(levels)
    colour = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT), grey))
    clear = colour.copy()
    clear.putalpha(grey)
    turned = Image.Exif()
    turned[274] = 6
    clear.save(tmp_path / "alpha.png", compress_level=1)
    clear.convert("LA").save(tmp_path / "grey-alpha.png", compress_level=1)
    grey.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "sixteen.png", compress_level=1)
    colour.save(tmp_path / "turned.jpg", exif=turned)
    large = sorted(tmp_path.iterdir())
    clear.crop((0, 0, 9, 9)).save(tmp_path / "small.png")
    # Of what is wrong with this one, Pillow would warn: its size, and where a tag's value should be.
    (tmp_path / "bomb.pgm").write_bytes(b"P5 12000 9000 255\n")
    lost = struct.pack("<HHHIII", 1, 271, 2, 900, 4000, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + lost
    grey.save(tmp_path / "tags.jpg", exif=exif)

    command = [sys.executable, "-c", MEASURED, tmp_path / "small.png", tmp_path / "bomb.pgm", *large]
    done = subprocess.run([*command, tmp_path / "tags.jpg"], capture_output=True, text=True, check=True)
    refusal, grown = done.stdout.splitlines()
    assert "far too large" in refusal
    assert done.stderr == ""
    # 4 for the picture, as many for it turned or flat, 4 to spare.
    assert int(grown) < 12 * width * height + (4 << 20)
