"""A cloud's models in memory, while they are used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Model = TypeVar("Model")


class Loaded(Generic[Model]):
    """Up to `most` models by import id; the one that came first goes first. Safe for threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._models: dict[bytes, Model] = {}
        self._lock = threading.Lock()

    def get(self, import_id: bytes, load: Callable[[], Model]) -> Model:
        """The model, by `load` if it is not here."""
        with self._lock:
            if import_id not in self._models:
                if len(self._models) >= self._most:
                    self._models.pop(next(iter(self._models)))
                self._models[import_id] = load()
            return self._models[import_id]

    def forget(self, import_id: bytes) -> None:
        with self._lock:
            self._models.pop(import_id, None)
