"""Pictures on their way in: any file becomes a PNG that is sealed, and grey squares in integers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinveil.errors import BadImage
from twinveil.sealing import synthetic
from twinveil.sealing.integers import ONE
from twinveil.sealing.pixels import (
    LONGEST_SIDE,
    MOST_BYTES,
    binarised,
    from_png,
    grey_square,
    normalised,
    signed,
    to_png,
)

SOURCE = np.random.default_rng(5)


def file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP"])
def test_lossless_files_keep_their_pixels(kind: str) -> None:
    pixels = SOURCE.integers(0, 256, (40, 30), dtype=np.uint8)
    assert (from_png(to_png(file(Image.fromarray(pixels), kind))) == pixels).all()


def test_colour_stays_colour_and_large_pictures_shrink(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    noise = SOURCE.integers(0, 256, (900, 700, 3), dtype=np.uint8)
    path.write_bytes(file(Image.fromarray(noise), "JPEG"))
    png = to_png(path)
    assert from_png(png).shape == (LONGEST_SIDE, 398, 3)
    assert len(png) <= MOST_BYTES


def test_the_largest_picture_of_pure_noise_fits() -> None:
    noise = SOURCE.integers(0, 256, (LONGEST_SIDE, LONGEST_SIDE, 3), dtype=np.uint8)
    assert len(to_png(file(Image.fromarray(noise), "PNG"))) <= MOST_BYTES


@pytest.mark.parametrize(
    "content",
    [
        b"no picture",
        file(Image.new("L", (20, 20)), "JPEG"),
        file(Image.new("L", (LONGEST_SIDE + 1, 20)), "PNG"),
        file(Image.new("L", (20, 4)), "PNG"),
        file(Image.new("RGBA", (20, 20)), "PNG"),
        file(Image.new("L", (20, 20)), "PNG")[:-30],
        bytes(MOST_BYTES + 1),
    ],
)
def test_what_no_device_seals_is_refused(content: bytes) -> None:
    with pytest.raises(BadImage):
        from_png(content)


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(BadImage, match="too small"):
        to_png(file(Image.new("L", (4, 4)), "PNG"))


@pytest.mark.parametrize(("height", "width", "side"), [(64, 96, 32), (92, 92, 46), (33, 50, 16), (8, 8, 32)])
def test_squares_are_means_of_what_they_cover(height: int, width: int, side: int) -> None:
    pixels = SOURCE.integers(0, 256, (height, width), dtype=np.uint8)
    size = min(height, width)
    left, top = (width - size) // 2, (height - size) // 2
    crop = pixels[top : top + size, left : left + size].astype(np.float64)
    fine = np.kron(crop, np.ones((side, side)))
    wanted = fine.reshape(side, size, side, size).mean(axis=(1, 3))
    assert np.abs(grey_square(pixels, side) - wanted).max() <= 0.5 + 1e-9


def test_colour_becomes_grey_by_luma() -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[...] = (200, 100, 50)
    assert grey_square(pixels, 8)[0, 0] == (299 * 200 + 587 * 100 + 114 * 50 + 500) // 1000


def test_ranges() -> None:
    square = SOURCE.integers(0, 256, (32, 32))
    assert set(binarised(square).reshape(-1).tolist()) == {0, ONE}
    assert signed(np.array([0, 255])).tolist() == [-ONE, ONE]
    values = normalised(square) / ONE
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01


def test_a_blank_picture_shows_nothing() -> None:
    with pytest.raises(BadImage, match="contrast"):
        normalised(np.full((32, 32), 77, dtype=np.int64))


def test_synthetic_pictures_are_sealed_as_they_are() -> None:
    pixels = synthetic.picture("anyone")
    assert (from_png(to_png(synthetic.png(pixels))) == pixels).all()
