"""What failing costs and who gets how much: tokens come back with time, shares leave others something."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_s1.tokens import LATELY, Shares, Tokens
from twinveil.errors import BrokenOff, PeerUnavailable, TooMuch

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32
MODEL, OTHER = b"m" * 16, b"o" * 16


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(tokens: Tokens, who: bytes, count: int = 1, error: BaseException | None = None) -> None:
    with pytest.raises(type(error or BrokenOff(""))), tokens.risking(who, count):
        raise error or BrokenOff("by its user")


def refused(tokens: Tokens, who: bytes) -> bool:
    with ExitStack() as stack:
        try:
            stack.enter_context(tokens.risking(who, 1))
        except TooMuch:
            return True
    return False


def test_answered_queries_cost_nothing() -> None:
    tokens = Tokens(1, 60.0, Clock())
    for _ in range(100):
        with tokens.risking(A, 16):
            pass
    assert not refused(tokens, A)
    assert not tokens._full


@pytest.mark.parametrize("error", [PeerUnavailable("its half never came"), GeneratorExit(), KeyError("what")])
def test_failing_queries_empty_the_bucket_of_their_own_user(error: BaseException) -> None:
    clock = Clock()
    tokens = Tokens(3, 60.0, clock)
    for _ in range(3):
        assert not refused(tokens, A)
        fail(tokens, A, error=error)
    assert refused(tokens, A)
    assert not refused(tokens, B)
    clock.now += 59.0
    with pytest.raises(TooMuch, match=r"ask again in 1 s$"), tokens.risking(A, 1):
        pass
    clock.now += 1.0
    fail(tokens, A)
    assert refused(tokens, A)


def test_a_full_bucket_holds_no_more_and_is_forgotten() -> None:
    clock = Clock()
    tokens = Tokens(2, 60.0, clock)
    fail(tokens, A)
    clock.now += 1e6
    for _ in range(2):
        fail(tokens, A)
    assert refused(tokens, A)
    clock.now += 121.0
    fail(tokens, B)
    assert set(tokens._full) == {B}


def test_what_runs_side_by_side_is_owed() -> None:
    clock = Clock()
    tokens = Tokens(4, 10.0, clock)
    with pytest.raises(BrokenOff), tokens.risking(A, 16):
        fail(tokens, A, 16)
        raise BrokenOff("this one, too")
    clock.now += 289.0
    assert refused(tokens, A)
    clock.now += 1.0
    assert not refused(tokens, A)


def test_what_clouds_cannot_do_costs_no_user() -> None:
    tokens = Tokens(1, 60.0, Clock())
    fail(tokens, A, error=TooMuch("the memory is taken by others"))
    with pytest.raises(PeerUnavailable), tokens.risking(A, 1) as stake:
        stake.at_risk = False
        raise PeerUnavailable("cloud_s2 is away")
    assert not refused(tokens, A)


def test_who_asks_alone_has_everything() -> None:
    shares = Shares(50, 50, Clock())
    assert shares.take(A, MODEL, 50, 50) == 50
    assert shares.take(B, OTHER, 10, 50) == 10  # another model's user is none of this one's
    assert shares.take(A, MODEL, 10, 10) == 10


def test_one_user_does_not_empty_the_store_for_others() -> None:
    clock = Clock()
    shares = Shares(50, 50, clock)
    shares.take(B, MODEL, 1, 0)
    taken = sum(shares.take(A, MODEL, 10, 50 - 10 * number) for number in range(5))
    assert taken == 25
    assert shares.take(A, MODEL, 1, 25) == 0
    assert shares.take(A, MODEL, 16, 30) == 5  # what was made since
    assert shares.take(B, MODEL, 16, 25) == 16
    clock.now += LATELY
    assert shares.take(A, MODEL, 9, 9) == 9


def test_users_who_ask_alike_have_it_all() -> None:
    shares, ready = Shares(50, 50, Clock()), 50
    for number in range(10):
        count = shares.take(bytes([number % 5]), MODEL, 5, ready)
        assert count == 5
        ready -= count
    assert ready == 0


@given(
    st.integers(1, 100),
    st.integers(1, 64),
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 16))),
)
def test_whatever_is_asked(percent: int, keep: int, asked: list[tuple[bytes, int]]) -> None:
    """Never more than there is or was wanted; and nobody has more than its part of what lay ready at once."""
    shares, ready, taken = Shares(keep, percent, Clock()), keep, dict.fromkeys((A, B, C), 0)
    shares.take(C, MODEL, 1, 0)
    for who, wanted in asked:
        count = shares.take(who, MODEL, wanted, ready)
        assert 0 <= count <= min(wanted, ready)
        ready -= count
        taken[who] += count
    if who_else := [each for each in (A, B) if taken[each]]:
        assert all(taken[each] <= max(1, -(-keep * percent // 100)) for each in who_else)
