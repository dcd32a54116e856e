"""Files that are there whole or not at all, and places that are tried before long work."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinveil.errors import BadInput
from twinveil.net.files import check_place, replace, replacing


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    replace(file, b"old", 0o600)
    with pytest.raises(ZeroDivisionError), replacing(file, 0o600) as opened:
        opened.write(b"half")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_place_that_takes_a_file_is_left_as_it_was(tmp_path: Path) -> None:
    check_place(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "nowhere/report.html", "file/report.html", "/proc/report.html"])
def test_a_place_that_takes_none_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot be written: give a file in a folder that is there$"):
        check_place(tmp_path / place)
