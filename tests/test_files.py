"""Files that are there whole or not at all, and places that are tried before long work."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Barrier

import pytest

from twinveil.errors import BadInput
from twinveil.files import (
    check_place,
    create,
    creating_folder,
    lock,
    replace,
    replacing,
    replacing_folder,
    sync_folder,
    write_report,
)


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    replace(file, b"old", 0o600)
    with pytest.raises(ZeroDivisionError), replacing(file, 0o600) as opened:
        opened.write(b"half")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_file_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    create(file, b"first", 0o600)
    with pytest.raises(FileExistsError):
        create(file, b"second", 0o600)
    assert file.read_bytes() == b"first"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


THREADS = 8


def at_once(write: Callable[[int], None]) -> list[type]:
    """What each thread's write ends with."""
    begin = Barrier(THREADS)

    def turn(thread: int) -> None:
        begin.wait()
        write(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        turns = [pool.submit(turn, thread) for thread in range(THREADS)]
    return [type(each.exception()) for each in turns]


def refusing(number: int) -> Callable[..., None]:
    """A call that the file system does not have."""

    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("links", [None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_threads_that_write_the_same_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: int | None
) -> None:
    """Nor where there are no hard links: vfat says EPERM, file systems of FUSE another number."""
    if links is not None:
        monkeypatch.setattr("os.link", refusing(links))

    def content(thread: int) -> bytes:
        return bytes([thread]) * 100_000

    for turn in range(20):
        file = tmp_path / f"{turn}"
        assert (
            at_once(lambda thread, file=file: replace(file, content(thread), 0o600)) == [type(None)] * THREADS
        )
        assert file.read_bytes() in map(content, range(THREADS))
        new = tmp_path / f"new {turn}"
        ended = at_once(lambda thread, new=new: create(new, content(thread), 0o600))
        assert (ended.count(type(None)), ended.count(FileExistsError)) == (1, THREADS - 1)
        assert new.read_bytes() == content(ended.index(type(None)))
    assert len(list(tmp_path.iterdir())) == 40


def test_without_links_a_reader_finds_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.link", refusing(errno.EPERM))
    content = b"x" * 1_000_000
    seen: set[int] = set()

    def read(file: Path) -> None:
        end = time.monotonic() + 5
        while not file.exists() and time.monotonic() < end:
            pass
        seen.add(file.stat().st_size)

    with ThreadPoolExecutor(1) as pool:
        for turn in range(20):
            file = tmp_path / f"{turn}"
            reading = pool.submit(read, file)
            create(file, content, 0o600)
            reading.result(10)
    assert seen == {len(content)}


def test_a_link_that_cannot_be_made_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.link", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        create(tmp_path / "pin", b"first", 0o600)
    assert not list(tmp_path.iterdir())


def test_a_lock_keeps_others_out_until_it_is_closed(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"), pytest.raises(BlockingIOError):
        lock(tmp_path / "lock")
    lock(tmp_path / "lock", wait=True).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("fcntl.flock", refusing(number))
    with pytest.raises(BadInput, match=r"/lock cannot be locked, .*: use a folder on a file system that has"):
        lock(tmp_path / "lock")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_left_to_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("os.fsync", refusing(number))
    sync_folder(tmp_path)
    monkeypatch.setattr("os.fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


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


@pytest.mark.parametrize("making", [creating_folder, replacing_folder])
def test_a_folder_appears_whole_private_and_synced(
    tmp_path: Path, making: Callable[[Path], AbstractContextManager[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("twinveil.files.sync_folder", synced.append)
    with making(tmp_path / "made") as part:
        (part / "below").mkdir()
        (part / "below" / "file").write_text("whole")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "below" / "file").read_text() == "whole"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert synced == [part, part / "below", tmp_path]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("making", [creating_folder, replacing_folder])
def test_a_folder_that_was_not_finished_leaves_what_was_there(
    tmp_path: Path, making: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), making(tmp_path / "kept") as part:
        (part / "file").write_text("new")
        raise KeyboardInterrupt
    assert (tmp_path / "kept" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_takes_the_place_of_another_only_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("old")
    with pytest.raises(OSError, match="not empty"), creating_folder(tmp_path / "kept") as part:
        (part / "file").write_text("new")
    assert (tmp_path / "kept" / "file").read_text() == "old"
    with replacing_folder(tmp_path / "kept") as part:
        (part / "other").write_text("new")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_in_its_place_stays_though_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("old")
    with pytest.raises(OSError, match="Input/output"), replacing_folder(tmp_path / "kept") as part:
        (part / "file").write_text("new")
        real = sync_folder
        monkeypatch.setattr(
            "twinveil.files.sync_folder", lambda at: refusing(errno.EIO)() if at == tmp_path else real(at)
        )
    assert (tmp_path / "kept" / "file").read_text() == "new"
