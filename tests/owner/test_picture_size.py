"""A size as it is typed: one side or two, within limits."""

from __future__ import annotations

import pytest

from owner.training.picture_size import picture_size
from twinveil.errors import BadInput


@pytest.mark.parametrize(
    ("text", "size"), [("28", (28, 28)), ("56x46", (56, 46)), ("5x1024", (5, 1024)), ("1024x5", (1024, 5))]
)
def test_one_side_or_height_and_width(text: str, size: tuple[int, int]) -> None:
    assert picture_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "4", "32x4", "1025", "5x1025", "32x", "x32", "32X32", "-32", "3 2"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--image-size must be like 28 or 56x46, each from 5 to 1024"):
        picture_size(text)
