"""Which files of a folder are pictures: by their endings, and never what is hidden or left by other programs.

A file that a person names is tried whatever it is called; this is about folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twinveil.errors import BadInput

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".pbm",
    ".pgm",
    ".ppm",
    ".pnm",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
)

_LEFTOVERS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin"}
"""Of Windows, of Synology's servers, and of archives made on a Mac; other systems hide theirs by a dot."""


def visible(folder: Path) -> list[Path]:
    """Everything that a person has put into a folder, by name. Raises BadInput if it cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror or error}") from None
    return [each for each in entries if not each.name.startswith(".") and each.name.lower() not in _LEFTOVERS]


def pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures, by name. Raises BadInput."""
    return [each for each in visible(folder) if _is_picture(each)]


def pictures_below(folder: Path) -> Iterator[Path]:
    """The pictures of a folder and of all folders in it, links to folders left out. Raises BadInput."""
    for each in visible(folder):
        if each.is_dir() and not each.is_symlink():
            yield from pictures_below(each)
        elif _is_picture(each):
            yield each


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """What files and folders are sorted by: s2 before s10. Every second part is a run of digits 0 to 9."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], path.name


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
