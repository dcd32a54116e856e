"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from twinveil.errors import BadInput


def replace(path: Path, content: bytes, mode: int) -> None:
    """Writes a whole file in one step, with its mode from the first byte on."""
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` once all is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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


def write_report(path: Path, text: str, mode: int = 0o600) -> None:
    """After long work, where `check_place` was before it. Raises BadInput if it cannot be written."""
    try:
        if _is_stream(path):
            path.write_text(text)  # no file may take its place
        else:
            replace(path.resolve(), text.encode(), mode)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None


def _is_stream(path: Path) -> bool:
    """A pipe or a device, such as /dev/stdout."""
    return path.exists() and not path.is_file()
