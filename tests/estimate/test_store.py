"""How many items a burst wants ready: as many as a day at S1 shows, played picture by picture."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.networks import small_icnn_model
from twinveil.estimate.store import Burst, store, store_text
from twinveil.params import Params
from twinveil.protocol.size import item_size
from twinveil.start.settings import MAX_PREPARED, PREPARED


def all_find_one(ready: int, burst: Burst, answer: int, item: int) -> bool:
    """answer, item, burst.every: whole seconds; S1 makes items while no picture is answered."""
    at_work = 0
    for _ in range(burst.pictures):
        if not ready:
            return False
        ready -= 1
        at_work += max(0, int(burst.every) - answer)
        made, at_work = divmod(at_work, item)
        ready += made
    return True


@given(st.integers(1, 80), st.integers(0, 30), st.integers(1, 10), st.integers(1, 20))
def test_as_many_as_a_burst_wants_and_no_more(pictures: int, every: int, answer: int, item: int) -> None:
    burst = Burst(pictures, every)
    needs = burst.needs(answer, item)
    assert 1 <= needs <= pictures
    assert all_find_one(needs, burst, answer, item)
    assert not all_find_one(needs - 1, burst, answer, item)


def test_one_after_the_other_finds_nothing_made_meanwhile() -> None:
    assert Burst(50).needs(0.3, 1.5) == 50
    assert Burst(50, math.inf).needs(0.3, 1.5) == 1


@pytest.mark.parametrize(
    ("burst", "said"),
    [
        (None, f"{PREPARED} items lie ready by default (--prepare of cloud_s1)"),
        (Burst(50), "50 pictures, one after the other, want 50 items ready (--prepare of cloud_s1)"),
        (Burst(50, 1.0), "50 pictures, one every 1 s, want 26 items ready"),
        (Burst(90), f"want 90 items ready (--prepare of cloud_s1), which keeps {MAX_PREPARED} at most"),
    ],
)
def test_it_is_said_with_the_memory_and_the_wait(burst: Burst | None, said: str) -> None:
    item = item_size(small_icnn_model(3).plan, Params(2048))
    made = store(burst, 0.5, 1.0, (item.memory_s1, item.memory_s2), 2.0)
    assert made["memory_bytes"]["cloud_s2"] == made["ready"] * item.memory_s2
    assert said in store_text(made)
    assert store_text(made).endswith(" MiB at cloud_s2; a picture that finds none waits 2.00 s")
