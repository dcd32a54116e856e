"""Memory that items and queries take together: who does not fit beside the others is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from twinveil.container import memory_limit
from twinveil.errors import TooLarge, TooMuch


def half_of_memory() -> int:
    """Half of the memory that this process can have, in bytes."""
    return memory_limit() // 2


class Taker(NamedTuple):
    """Who takes memory, and what to do where there will never be enough."""

    what: str
    instead: str


QUERY = Taker("this query", "ask for fewer pictures at a time")
ITEM = Taker(
    "what one picture of this network needs ahead", "raise its max_query_memory, or take a smaller network"
)


class Budget:
    """Bytes that are there for items and queries at once. role: whose."""

    def __init__(self, role: str, most: int) -> None:
        self._role = role
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def take(self, size: int, taker: Taker = QUERY) -> Iterator[None]:
        """`size` bytes for as long as the block lasts.

        Raises TooMuch at once if they are not there, TooLarge if they never are.
        """
        if size > self._most:
            raise TooLarge(
                f"{taker.what} takes {size >> 20:,} MiB of memory, {self._role} has {self._most >> 20:,} MiB "
                f"for queries: {taker.instead}"
            )
        with self._lock:
            if self._taken + size > self._most:
                raise TooMuch(f"{self._role}'s memory for queries is taken by others: try again later")
            self._taken += size
        try:
            yield
        finally:
            with self._lock:
                self._taken -= size
