"""Files that are there whole or not at all, and that nobody else reads unless they are made for others."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from twinveil.errors import BadInput
from twinveil.wording import typed

PRIVATE = 0o600
PUBLIC = 0o644
"""Certificates, addresses, and what a person asked for in order to show it."""

_NOT_HERE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_LINKS = _NOT_HERE | {errno.EPERM, errno.EMLINK, errno.EXDEV}
_NO_SYNC = _NOT_HERE | {errno.EINVAL}
"""What file systems answer that lack hard links (vfat, some of FUSE) or fsync of folders."""


def private_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing, for this user alone. One that is there stays."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def replace(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Writes a whole file in one step, with its mode from the first byte on."""
    with replacing(path, mode) as file:
        file.write(content)


def create(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Writes a whole new file in one step. Raises FileExistsError if there is one already."""
    with _placing(path, mode, _place_new) as file:
        file.write(content)


def replacing(path: Path, mode: int = PRIVATE) -> AbstractContextManager[IO[bytes]]:
    """A file to write to, which takes the place of `path` once all is written."""
    return _placing(path, mode, os.replace)


@contextmanager
def _placing(path: Path, mode: int, place: Callable[[Path, Path], None]) -> Iterator[IO[bytes]]:
    # A random name: neither another thread nor what a killed process of the same number left is in the way.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        place(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise
    finally:
        partial.unlink(missing_ok=True)


def _place_new(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with _folder(path.parent) as folder:  # whoever makes a file there looks first, one after the other
            _lock(folder, path.parent, fcntl.LOCK_EX)
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            partial.replace(path)


def creating_folder(path: Path) -> AbstractContextManager[Path]:
    """A private folder to fill, which becomes `path` once all is written. Raises OSError if that is taken."""
    return _placing_folder(path, place_folder)


def replacing_folder(path: Path) -> AbstractContextManager[Path]:
    """A private folder to fill, which takes the place of `path` once all is written, whatever was there."""
    return _placing_folder(path, _exchange_folder)


@contextmanager
def _placing_folder(path: Path, place: Callable[[Path, Path], None]) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    private_folder(part)
    try:
        yield part
        place(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def place_folder(part: Path, path: Path) -> None:
    """Gives a folder whose files are written its name. Raises OSError if one that is not empty has it."""
    for folder, _, _ in os.walk(part):
        sync_folder(Path(folder))
    part.rename(path)
    sync_folder(path.parent)


def _exchange_folder(part: Path, path: Path) -> None:
    """Two renames: between them there is no folder of that name, but never half of one."""
    old = part.with_suffix(".old")
    if path.exists():
        path.rename(old)
    try:
        place_folder(part, path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """What was placed in it outlives a crash, where the file system has a way to say so."""
    with _folder(folder) as handle:
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


@contextmanager
def _folder(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(path: Path, *, wait: bool = False) -> IO[bytes]:
    """Keeps others out until the file that is returned is closed, or this process ends, however it does.

    Raises BlockingIOError if somebody else keeps it, unless told to wait; BadInput where there are no locks.
    """
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE), "ab")
    try:
        _lock(file.fileno(), path, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


def _lock(handle: int, path: Path, how: int) -> None:
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise BadInput(
            f"{path} cannot be locked, {error.strerror}: use a folder on a file system that has locks"
        ) from None


def open_to_others(path: Path) -> str:
    """What a person is told of a secret file that is not theirs alone."""
    return (
        f"{path} is open to others: {typed('chmod', 600, path)}; where that changes nothing, "
        "use a folder on a file system that keeps permissions"
    )


def check_place(path: Path) -> None:
    """Before long work, not after. Raises BadInput if no file can be written there."""
    try:
        if path.is_dir():
            raise IsADirectoryError
        if _is_stream(path):
            return
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError:
        raise BadInput(f"{path} cannot be written: give a file in a folder that is there") from None


def write_report(path: Path, text: str, mode: int = PRIVATE) -> None:
    """After long work, where `check_place` was before it. Raises BadInput if it cannot be written."""
    content = text.encode(errors="backslashreplace")  # a file's name in it may be no UTF-8
    try:
        if _is_stream(path):
            path.write_bytes(content)  # no file may take its place
        else:
            replace(path.resolve(), content, mode)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None


def _is_stream(path: Path) -> bool:
    """A pipe or a device, such as /dev/stdout."""
    return path.exists() and not path.is_file()
