"""A client waits at S2: one outcome, however it comes, and an end by the clock if none does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cloud_s2.pending import Pending
from tests.security.world import finish
from twinveil.errors import PeerUnavailable

UNCLAIMED, CLAIMED = 5.0, 50.0


@dataclass
class Clock:
    now: float = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("cloud_s2.pending.time", made)
    monkeypatch.setattr("cloud_s2.pending.HEARTBEAT", 0.0)
    return made


@pytest.fixture
def pending() -> Pending[str]:
    return Pending("this query", "ask again")


def test_what_came_first_stays(clock: Clock, pending: Pending[str]) -> None:
    pending.finish("answer")
    pending.fail(PeerUnavailable("broken off"))
    assert finish(pending.outcome(UNCLAIMED, CLAIMED)) == "answer"


def test_who_waits_hears_why_there_is_no_answer(clock: Clock, pending: Pending[str]) -> None:
    waiting = pending.outcome(UNCLAIMED, CLAIMED)
    next(waiting)
    pending.fail(PeerUnavailable("broken off"))
    with pytest.raises(PeerUnavailable, match="broken off"):
        next(waiting)


@pytest.mark.parametrize(
    ("claimed", "limit", "text"),
    [
        (False, UNCLAIMED, "cloud_s1 did not take up this query in time: ask again"),
        (True, CLAIMED, "cloud_s1 did not finish this query in time: ask again"),
    ],
)
def test_a_wait_ends_by_the_clock(
    clock: Clock, pending: Pending[str], claimed: bool, limit: float, text: str
) -> None:
    waiting = pending.outcome(UNCLAIMED, CLAIMED)
    pending.claimed = claimed
    for _ in range(1000):
        next(waiting)
    clock.now += limit - 1
    next(waiting)
    clock.now += 1
    with pytest.raises(PeerUnavailable) as raised:
        next(waiting)
    assert str(raised.value) == text


def test_an_answer_that_is_there_is_never_too_late(clock: Clock, pending: Pending[str]) -> None:
    waiting = pending.outcome(UNCLAIMED, CLAIMED)
    next(waiting)
    pending.finish("answer")
    clock.now += 2 * CLAIMED
    assert finish(waiting) == "answer"
