"""What a client waits for at S2, while a conversation with S1 works on the half that it sent."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Generic, TypeVar

from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.rpc.types_pb2 import Progress

HEARTBEAT = 0.5
"""Seconds between signs of life to a waiting client, by which one that went away is noticed."""

Outcome = TypeVar("Outcome")


class Pending(Generic[Outcome]):
    """A client's half, and what becomes of it.

    what, remedy: for the client, if S1 is too late. claimed: whether a conversation has taken the half.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self._what = what
        self._remedy = remedy
        self._outcome: Future[Outcome] = Future()
        self.claimed = False

    def finish(self, outcome: Outcome) -> None:
        self._outcome.set_result(outcome)

    def fail(self, error: TwinveilError) -> None:
        """The conversation has ended; without effect after finish()."""
        with suppress(InvalidStateError):
            self._outcome.set_exception(error)

    def outcome(self, unclaimed: float, claimed: float) -> Generator[Progress, None, Outcome]:
        """Signs of life until it is there; raises what ended the conversation.

        unclaimed, claimed: seconds after which it is too late, before and after S1 has taken up the half.
        Raises PeerUnavailable then.
        """
        begin = time.monotonic()
        while not wait([self._outcome], HEARTBEAT).done:
            if time.monotonic() - begin >= (claimed if self.claimed else unclaimed):
                done = "finish" if self.claimed else "take up"
                raise PeerUnavailable(f"cloud_s1 did not {done} {self._what} in time: {self._remedy}")
            yield Progress()
        return self._outcome.result()
