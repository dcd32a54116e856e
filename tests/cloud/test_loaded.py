"""Models in memory: each is loaded once while it is among the latest, and again after it was forgotten."""

from __future__ import annotations

import pytest

from twinveil.cloud.loaded import Loaded
from twinveil.errors import BadInput


class Disk:
    """Tells what was loaded from it."""

    def __init__(self, most: int) -> None:
        self.loaded: Loaded[str] = Loaded(most)
        self.read: list[str] = []

    def get(self, name: str) -> str:
        def load() -> str:
            self.read.append(name)
            if name == "damaged":
                raise BadInput("damaged")
            return name

        return self.loaded.get(name.encode(), load)


def test_the_first_that_came_goes_first() -> None:
    disk = Disk(2)
    assert [disk.get(name) for name in "abaab"] == list("abaab")
    assert disk.read == ["a", "b"]
    for name in "cba":
        disk.get(name)
    assert disk.read == ["a", "b", "c", "a"]


def test_what_cannot_be_loaded_is_tried_again() -> None:
    disk = Disk(2)
    for _ in range(2):
        with pytest.raises(BadInput):
            disk.get("damaged")
    assert disk.read == ["damaged", "damaged"]


def test_what_is_forgotten_is_loaded_anew() -> None:
    disk = Disk(2)
    disk.get("a")
    disk.loaded.forget(b"a")
    disk.loaded.forget(b"unknown")
    disk.get("a")
    assert disk.read == ["a", "a"]
