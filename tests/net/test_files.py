"""Files that are there whole or not at all, and places that are tried before long work."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from twinveil.errors import BadInput
from twinveil.net.files import check_place, replace, replacing, write_report


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


def test_a_report_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    report, link = tmp_path / "report.html", tmp_path / "link.html"
    link.symlink_to(report)
    for path, text in ((report, "old"), (report, "ä"), (link, "through the link")):
        write_report(path, text)
        assert report.read_text(encoding="utf-8") == text
    assert link.is_symlink()
    assert report.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [link, report]


def test_a_report_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report.html"
    write_report(report, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match=r"report.html cannot be written: No space left on device$"):
        write_report(report, "new")
    assert report.read_text() == "old"
    assert list(tmp_path.iterdir()) == [report]


def test_a_report_goes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_place(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_report(pipe, "figures")
        assert os.read(reader, 100) == b"figures"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
