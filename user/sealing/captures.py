"""Where pictures come from: files, a folder, or the frames that a camera writes into a folder.

Each source gives pictures as they are sealed (PNG), one a call, and None once there are no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from twinveil.errors import BadImage, BadInput
from twinveil.pictures.folders import pictures_in
from twinveil.sealing.pixels import to_png

POLL_SECONDS = 0.1
FRAME_WAIT = 5.0


class Source(Protocol):
    def next(self) -> bytes | None:
        """The next picture. Raises BadImage for one that cannot be used; the one after it may be."""
        ...


class Pictures:
    """Files, or their contents, one after the other."""

    def __init__(self, pictures: Sequence[Path | bytes]) -> None:
        self._left = list(pictures)

    def next(self) -> bytes | None:
        return to_png(self._left.pop(0)) if self._left else None


class Camera:
    """The newest frame of a folder that was not given yet; waits for one to come.

    A camera that is still writing a frame is waited for: what cannot be read yet is looked at again.
    """

    def __init__(
        self,
        folder: Path,
        wait: float = FRAME_WAIT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not folder.is_dir():
            raise BadInput(f"{folder} is no folder with a camera's frames")
        self._folder = folder
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._given: set[tuple[str, int]] = set()

    def next(self) -> bytes | None:
        end = self._clock() + self._wait
        failure: BadImage | None = None
        while True:
            for key, path in self._frames():
                try:
                    picture = to_png(path)
                except BadImage as error:
                    failure = error
                    continue
                self._given.add(key)
                return picture
            if self._clock() >= end:
                break
            self._sleep(POLL_SECONDS)
        if failure is not None:
            self._given.update(key for key, _ in self._frames())
            raise failure
        return None

    def _frames(self) -> list[tuple[tuple[str, int], Path]]:
        """Frames that are new, the newest first."""
        found = []
        for path in pictures_in(self._folder):
            try:
                written = path.stat().st_mtime_ns
            except OSError:
                continue  # removed in the meantime
            if (path.name, written) not in self._given:
                found.append((written, path))
        return [((path.name, written), path) for written, path in sorted(found, reverse=True)]


def listed(paths: Sequence[Path]) -> list[Path | bytes]:
    """Files as they are, folders as the pictures in them. Raises BadInput if nothing is left."""
    found: list[Path | bytes] = []
    for path in paths:
        found.extend(pictures_in(path) if path.is_dir() else [path])
    if not found:
        raise BadInput("there is no picture to send: give files or a folder with pictures")
    return found
