"""Where a client's half waits for the conversation that needs it, by a random id, once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from twinveil.errors import AlreadyUsed, PeerUnavailable

Item = TypeVar("Item")

REMEMBERED = 100_000
"""Ids that are refused a second time; older ones cannot be replayed against a fresh M anyway."""


class Rendezvous(Generic[Item]):
    """deposit() by the client's call, claim() by the conversation; either may come first."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._waiting: dict[bytes, Item] = {}
        self._used: OrderedDict[bytes, None] = OrderedDict()
        self._changed = threading.Condition()

    def deposit(self, key: bytes, item: Item) -> None:
        """Raises AlreadyUsed for an id that was here before."""
        with self._changed:
            if key in self._used:
                raise AlreadyUsed(f"the id of this {self._what} was used before: make a new one")
            self._used[key] = None
            if len(self._used) > REMEMBERED:
                self._used.popitem(last=False)
            self._waiting[key] = item
            self._changed.notify_all()

    def claim(self, key: bytes, seconds: float, check: Callable[[Item], None] = lambda item: None) -> Item:
        """Take the item; waits for it. Raises PeerUnavailable if it does not come.

        check: may raise, and the item stays where it is, for the conversation that it belongs to.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while key not in self._waiting:
                left = end - time.monotonic()
                if left <= 0:
                    raise PeerUnavailable(
                        f"the other half of this {self._what} did not arrive within {seconds:g} s"
                    )
                self._changed.wait(left)
            check(self._waiting[key])
            return self._waiting.pop(key)

    def withdraw(self, key: bytes) -> None:
        """The client has gone."""
        with self._changed:
            self._waiting.pop(key, None)
