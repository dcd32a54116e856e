"""What one certificate can cost others: tokens for what its queries waste, a share of what lies ready."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twinveil.errors import TooMuch

LATELY = 600.0
"""Seconds for which a user who has asked is reckoned with."""

Clock = Callable[[], float]


class Tokens:
    """A bucket for each certificate, of `most` tokens and one more every `seconds`. Safe for threads.

    A query that is not answered has cost its user a token an item. Nobody with less than one begins another:
    what was wasted is made again at its own user's rate. What queries side by side cost may be owed.
    """

    def __init__(self, most: int, seconds: float, now: Clock = time.monotonic) -> None:
        self._most, self._seconds, self._now = most, seconds, now
        self._full: dict[bytes, float] = {}
        """When a certificate's bucket is full again; one that is not here is full."""
        self._lock = threading.Lock()

    @contextmanager
    def risking(self, who: bytes, count: int) -> Iterator[Stake]:
        """A query that takes `count` items. Raises TooMuch if its user has no token."""
        with self._lock:
            short = self._missing(who) - (self._most - 1)
        if short > 0:
            wait = math.ceil(short * self._seconds)
            raise TooMuch(
                "your queries that were broken off have used up what may be prepared for you: "
                f"ask again in {wait} s"
            )
        stake = Stake()
        try:
            yield stake
        except TooMuch:  # a cloud's own want
            raise
        except BaseException:
            if stake.at_risk:
                self._pay(who, count)
            raise

    def _missing(self, who: bytes) -> float:
        """Tokens that it would take to fill the bucket."""
        return max(0.0, self._full.get(who, 0.0) - self._now()) / self._seconds

    def _pay(self, who: bytes, count: int) -> None:
        with self._lock:
            now = self._now()
            self._full = {each: full for each, full in self._full.items() if full > now}
            self._full[who] = max(now, self._full.get(who, now)) + count * self._seconds


class Stake:
    """A query's items, lost to its user while `at_risk` if the query ends with an error."""

    def __init__(self) -> None:
        self.at_risk = True


class Shares:
    """Who takes how much of the `keep` items that lie ready of a model. Safe for threads.

    While others ask for it, too, a user takes no more than `percent` of them at once, and of what is left
    only while that is no more than this part of all that lie ready or were taken lately.
    """

    def __init__(self, keep: int, percent: int, now: Clock = time.monotonic) -> None:
        self._percent, self._now = percent, now
        self._kept = keep * (100 - percent) // 100
        self._taken: deque[tuple[float, bytes, bytes, int]] = deque()
        self._lock = threading.Lock()

    def take(self, who: bytes, model: bytes, wanted: int, ready: int) -> int:
        """How many of `ready` items this user's query takes."""
        with self._lock:
            now = self._now()
            while self._taken and self._taken[0][0] <= now - LATELY:
                self._taken.popleft()
            taken: Counter[bytes] = Counter()
            for _, user, of, count in self._taken:
                if of == model:
                    taken[user] += count
            count = min(wanted, ready)
            if taken.keys() - {who}:
                fair = math.ceil((ready + taken.total()) * self._percent / 100) - taken[who]
                count = max(0, min(count, max(ready - self._kept, fair)))
            self._taken.append((now, who, model, count))
            return count
