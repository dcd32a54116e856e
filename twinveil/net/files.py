"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def replace(path: Path, content: bytes, mode: int) -> None:
    """Writes a whole file in one step, with its mode from the first byte on."""
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` once all is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
