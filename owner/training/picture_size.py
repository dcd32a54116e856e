"""A picture's size as a person types it: SIDE or HEIGHTxWIDTH."""

from __future__ import annotations

import re

from twinveil.errors import BadInput

_SIZE = re.compile(r"([0-9]{1,4})(?:x([0-9]{1,4}))?")


def picture_size(text: str) -> tuple[int, int]:
    """(height, width) in pixels. Raises BadInput."""
    match = _SIZE.fullmatch(text)
    if match is not None:
        height, width = int(match[1]), int(match[2] or match[1])
        if min(height, width) >= 5 and max(height, width) <= 1024:
            return height, width
    raise BadInput(f"--image-size must be like 28 or 56x46, each from 5 to 1024, not {text!r}")
