"""Pictures of every kind come out as the model wants them; what is no picture is one clear line."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twinveil.errors import BadImage
from twinveil.network.card import PictureSpec
from twinveil.pictures import decoding
from twinveil.pictures.files import load_picture, to_terminal

GREY = PictureSpec((1, 28, 28), "light-on-dark")
PLAIN = PictureSpec((1, 28, 28))
COLOUR = PictureSpec((3, 28, 28))


def a_digit() -> npt.NDArray[np.uint8]:
    """Light strokes on black, 28 x 28."""
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[5:23, 12:16] = 255
    pixels[6:9, 9:13] = 180
    return pixels


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "TIFF", "GIF"])
def test_a_picture_of_the_right_size_passes_unchanged(kind: str) -> None:
    assert (load_picture(encoded(Image.fromarray(a_digit()), kind), GREY)[0] == a_digit()).all()


def test_jpeg_is_near(tmp_path: Path) -> None:
    path = tmp_path / "digit.jpg"
    path.write_bytes(encoded(Image.fromarray(a_digit()), "JPEG", quality=95))
    picture = load_picture(path, GREY)
    assert picture.dtype == np.uint8
    assert np.abs(picture[0].astype(int) - a_digit()).max() < 20


@pytest.mark.parametrize("header", [b"P5 28 28 255\n", b"P5\n# by hand\n28 28\n255\n"])
def test_pgm_by_hand(header: bytes) -> None:
    assert (load_picture(header + a_digit().tobytes(), GREY)[0] == a_digit()).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(kind: str) -> None:
    wide = a_digit().astype(np.uint16) * 257
    assert (load_picture(encoded(Image.fromarray(wide), kind), GREY)[0] == a_digit()).all()


def test_sixteen_bits_are_rounded_to_nearest() -> None:
    levels = np.array([[0, 128, 129, 257 * 7 + 128, 257 * 7 + 129, 65535]], dtype=np.uint16)
    picture = load_picture(encoded(Image.fromarray(levels)), PictureSpec((1, 1, 6)))
    assert picture[0, 0].tolist() == [0, 0, 1, 7, 8, 255]


def test_sixteen_bit_pgm_with_an_odd_maximum() -> None:
    content = b"P5 28 28 1000\n" + (a_digit().astype(int) * 1000 // 255).astype(">u2").tobytes()
    assert np.abs(load_picture(content, GREY)[0].astype(int) - a_digit()).max() <= 1


def test_colour_becomes_grey_by_itu_601_and_grey_becomes_colour() -> None:
    for colour, grey in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        image = Image.new("RGB", (28, 28), colour)
        assert (load_picture(encoded(image), PLAIN) == grey).all()
        assert load_picture(encoded(image), COLOUR)[:, 0, 0].tolist() == list(colour)
    tripled = load_picture(encoded(Image.fromarray(a_digit())), COLOUR)
    assert all((plane == a_digit()).all() for plane in tripled)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_other_modes_are_understood(mode: str) -> None:
    image = Image.fromarray((a_digit() > 100).astype(np.uint8) * 255).convert("RGB").convert(mode)
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG"}.get(mode, "PNG")
    assert (
        np.abs(load_picture(encoded(image, kind), GREY)[0].astype(int) - (a_digit() > 100) * 255).max() < 60
    )


@pytest.mark.parametrize("stroke", [0, 255])
def test_strokes_on_a_transparent_ground_do_not_vanish(stroke: int) -> None:
    rgba = np.full((28, 28, 4), stroke, dtype=np.uint8)
    rgba[..., 3] = a_digit()
    assert (load_picture(encoded(Image.fromarray(rgba)), GREY)[0] == a_digit()).all()
    grey_alpha = Image.fromarray(rgba[..., [0, 3]], "LA")
    assert (load_picture(encoded(grey_alpha), GREY)[0] == a_digit()).all()


def test_a_transparent_palette_colour_is_ground() -> None:
    image = Image.fromarray((a_digit() > 100).astype(np.uint8), "P")
    image.putpalette([9, 9, 9, 255, 255, 255])
    content = encoded(image, transparency=0)
    assert (load_picture(content, GREY)[0] == (a_digit() > 100) * 255).all()


def test_opaque_alpha_changes_nothing() -> None:
    assert (load_picture(encoded(Image.fromarray(a_digit()).convert("RGBA")), GREY)[0] == a_digit()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    turned = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.T,
        6: lambda p: np.rot90(p),
        7: lambda p: p[::-1, ::-1].T,
        8: lambda p: np.rot90(p, -1),
    }[orientation](a_digit())
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(turned)), exif=exif)
    assert (load_picture(content, GREY)[0] == a_digit()).all()


def test_dark_on_light_is_inverted_for_a_light_on_dark_model_only() -> None:
    light, dark = encoded(Image.fromarray(a_digit())), encoded(Image.fromarray(255 - a_digit()))
    for content in (light, dark):
        assert (load_picture(content, GREY)[0] == a_digit()).all()
        assert (load_picture(content, PictureSpec((1, 28, 28), "dark-on-light"))[0] == 255 - a_digit()).all()
    assert (load_picture(dark, PLAIN)[0] == 255 - a_digit()).all()
    assert (load_picture(dark, GREY, "never")[0] == 255 - a_digit()).all()
    assert (load_picture(light, GREY, "always")[0] == 255 - a_digit()).all()


def test_wide_and_high_pictures_are_cropped_in_the_centre() -> None:
    wide = np.zeros((28, 60), dtype=np.uint8)
    wide[:, :16], wide[:, -16:] = 99, 99
    wide[:, 16:44] = a_digit()
    assert (load_picture(encoded(Image.fromarray(wide)), PLAIN)[0] == a_digit()).all()
    assert (load_picture(encoded(Image.fromarray(wide.T)), PLAIN)[0] == a_digit().T).all()


def test_polarity_is_judged_after_the_crop() -> None:
    framed = np.full((28, 60), 255, dtype=np.uint8)
    framed[:, 16:44] = a_digit()
    assert (load_picture(encoded(Image.fromarray(framed)), GREY)[0] == a_digit()).all()


def test_a_crop_stays_inside_whatever_rounding_does() -> None:
    picture = Image.fromarray(np.zeros((46, 25), np.uint8))
    assert load_picture(encoded(picture), PictureSpec((3, 20, 11), "any")).shape == (3, 20, 11)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["L", "RGB", "RGBA", "LA", "1", "P"]),
    st.sampled_from([(1, 8, 8), (3, 20, 11), (1, 5, 40)]),
)
def test_any_size_and_mode_gives_the_wanted_shape(
    width: int, height: int, mode: str, shape: tuple[int, int, int]
) -> None:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    noise[0, 0, 3] = 255
    content = encoded(Image.fromarray(noise).convert(mode))
    for polarity in ("any", "light-on-dark"):
        picture = load_picture(content, PictureSpec(shape, polarity))
        assert picture.shape == shape
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous


def refused(source: Path | bytes) -> str:
    with pytest.raises(BadImage) as caught:
        load_picture(source, GREY)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(a_digit()))
    for name, bad in {
        "empty.png": b"",
        "text.png": b"hello, I am no picture",
        "cut.png": content[: len(content) - 30],
        "cut.jpg": encoded(Image.fromarray(a_digit()), "JPEG")[:300],
        "cut.pgm": b"P5 28 28 255\n" + bytes(100),
        "header.png": content[:20],
        "zeros.bin": bytes(5000),
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }.items():
        (tmp_path / name).write_bytes(bad)
        assert str(tmp_path / name) in refused(tmp_path / name)
    assert str(tmp_path / "missing.png") in refused(tmp_path / "missing.png")
    assert str(tmp_path) in refused(tmp_path)
    assert "the picture" in refused(b"nothing")


def test_every_damage_to_a_file_gives_a_picture_or_is_refused() -> None:
    content = bytearray(encoded(Image.fromarray(a_digit())))
    for place in range(len(content)):
        spoiled = bytes(content[:place]) + bytes([content[place] ^ 0xFF]) + bytes(content[place + 1 :])
        with suppress(BadImage):
            assert load_picture(spoiled, GREY).shape == (1, 28, 28)


def test_bombs_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "far too large" in refused(b"P5 100000 100000 255\n")
    assert "far too large" in refused(b"P5 12000 9000 255\n")
    assert "far too large" in refused(b"P5 9000 9000 255\n")
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 1 << 20)
    assert "larger than 1 MiB" in refused(bytes(2 << 20))


def test_nothing_to_see_and_floating_point_are_refused() -> None:
    assert "wholly transparent" in refused(encoded(Image.new("RGBA", (9, 9))))
    assert "floating-point" in refused(encoded(Image.new("F", (9, 9)), "TIFF"))


def test_terminal_rendering_has_two_rows_of_pixels_a_line() -> None:
    picture = np.array([[[0, 255, 0], [0, 0, 255], [255, 255, 0]]], dtype=np.uint8)
    assert to_terminal(picture, colour=False).split("\n") == [" ▀▄", "▀▀ "]
    lines = to_terminal(picture).split("\n")
    assert len(lines) == 2
    assert lines[0].count("▀") == 3
    assert "\x1b[38;2;255;255;255;48;2;0;0;0m▀" in lines[0]
    assert all(line.endswith("\x1b[0m") for line in lines)
    red = np.zeros((3, 2, 1), dtype=np.uint8)
    red[0] = 200
    assert to_terminal(red) == "\x1b[38;2;200;0;0;48;2;200;0;0m▀\x1b[0m"
