"""Items at S1: ready or made for who waits; an end gives back what it held, and nothing serves twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest

from cloud_s1.stock import LANES
from tests.cloud_s1.stocks import A, B, Made, eventually, waiting
from twinveil.errors import BrokenOff, OutOfOrder, PeerUnavailable, TwinveilError
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rehearsal.clouds import finish

pytestmark = pytest.mark.usefixtures("impatient")


def test_an_item_is_made_for_who_asks_and_serves_once(made: Made) -> None:
    names = made.ask(A) + made.ask(A, 2)
    assert len(set(names)) == 3
    assert made.stock.count == made.taken == 0


def test_items_are_kept_ready_after_an_answer() -> None:
    made = Made(keep=3)
    made.stock.want(A)
    made.ready(3)
    assert len(made.begun) == made.taken == 3
    assert len(made.lanes) <= LANES
    made.stock.want(A)
    made.ready(3)
    assert len(made.begun) == 3
    assert set(made.ask(A, 2)) < set(made.begun)
    made.stock.want(A)
    made.ready(3)
    assert (len(made.begun), made.taken) == (5, 3)


def test_a_burst_is_answered_from_what_lies_ready() -> None:
    """50 pictures against 50 items: none is made from the first query to the end of the last."""
    made = Made(keep=50)
    made.stock.want(A)
    made.ready(50)
    begun, sizes = list(made.begun), (16, 16, 1, 1, 1, 4, 4, 4, 3)
    with ExitStack() as running:
        names = [
            str(item)
            for size in sizes
            for item in running.enter_context(made.stock.spending(made.get(A, size)))
        ]
        made.stock.want(A)  # an answer
        assert made.stock.count == 0
        assert made.begun == begun
    assert sorted(names) == sorted(begun)
    made.ready(50)


def test_a_query_takes_its_share_and_has_the_others_made() -> None:
    made = Made(keep=6)
    made.stock.want(A)
    made.ready(6)
    asked = list[tuple[int, int]]()

    def share(wanted: int, ready: int) -> int:
        asked.append((wanted, ready))
        return 1

    held = finish(made.stock.collect(A, 3, share))
    assert asked == [(3, 6)]
    assert [str(each.item) in made.begun[:6] for each in held] == [True, False, False]
    assert made.stock.count == 5


def test_a_query_that_is_left_at_the_last_moment(made: Made) -> None:
    """All its items are there; nothing is opened for nobody."""
    asking = made.stock.collect(A, 2)
    while next(asking).label != "computing":
        """They are being made."""
    asking.close()
    assert made.stock.count == made.taken == 2
    assert set(made.ask(A, 2)) == set(made.begun)


def test_both_lanes_work_side_by_side() -> None:
    made = Made(keep=4)
    made.go.clear()
    made.stock.want(A)
    eventually(lambda: len(made.begun) == LANES)
    assert {name.split(".")[0] for name in made.begun} == {"a0", "a1"}
    made.go.set()
    made.ready(4)


def test_who_waits_comes_before_what_is_made_ahead() -> None:
    made = Made(keep=5)
    made.go.clear()
    made.stock.want(A)
    eventually(lambda: len(made.begun) == LANES)
    asking = made.stock.collect(B, 1)
    waiting(asking)
    made.go.set()
    (held,) = finish(asking)
    assert str(held.item) in made.begun[LANES : 2 * LANES]
    made.ready(5)


def test_nothing_is_made_ahead_while_a_query_is_answered() -> None:
    made = Made(keep=2)
    with made.stock.spending(made.get(A)):
        made.stock.want(A)
        assert made.ask(B) == ["b0.0"]
        time.sleep(0.02)
        assert made.begun == ["a0.0", "b0.0"]
    made.ready(2)


def test_no_thread_is_left_where_nothing_is_to_be_made(made: Made) -> None:
    made.ask(A)
    eventually(lambda: not made.stock._makers)
    assert not [each for each in threading.enumerate() if each.name == "items" and each.is_alive()]


@pytest.mark.parametrize("error", [BrokenOff("by S2"), RuntimeError("by mistake"), KeyboardInterrupt()])
def test_an_error_burns_a_query_s_items_and_those_of_their_conversations(
    made: Made, error: BaseException
) -> None:
    """S2 may have heard nothing of it, and would hold their halves for ever."""
    for held in made.get(A, 3):
        held.lane.out -= 1
        made.stock._keep_ready(held)
    with pytest.raises(type(error)):
        made.ask(A, 1, error)
    (burnt,) = made.closed
    assert made.lanes.index(burnt) != int(made.ask(A)[0].split(".")[0].removeprefix("a"))
    assert made.taken == made.stock.count


def test_only_withheld_gives_items_back(made: Made) -> None:
    with pytest.raises(PeerUnavailable, match="did not arrive"):
        made.ask(A, 2, Withheld(PeerUnavailable("the other half did not arrive")))
    assert made.stock.count == made.taken == 2
    assert set(made.ask(A, 2)) == set(made.begun)
    assert len(made.begun) == 2
    assert not made.closed


def test_what_s2_has_left_is_not_ready(made: Made) -> None:
    with pytest.raises(PeerUnavailable):
        made.ask(A, 2, Withheld(PeerUnavailable("later")))
    before = list(made.begun)
    for lane in made.lanes:
        lane.wire.left = True  # type: ignore[misc]
    assert made.stock.count == 0
    assert not set(made.ask(A)) & set(before)
    assert set(made.closed) == set(made.lanes[:-1])
    assert made.taken == 0


def test_an_item_whose_conversation_ended_does_not_come_back(made: Made) -> None:
    held = made.get(A)
    held[0].lane.wire.left = True  # type: ignore[misc]
    other = made.get(B)
    with pytest.raises(PeerUnavailable), made.stock.spending(held):
        raise Withheld(PeerUnavailable("later"))
    assert made.stock.count == 0
    assert made.taken == len(other)


def failing(*names: str) -> Callable[[str], object]:
    def way(name: str) -> None:
        if name in names:
            raise OutOfOrder(f"no {name}")

    return way


def test_a_conversation_in_which_one_failed_is_over(made: Made) -> None:
    """Both sides are at different steps of it."""
    made.way = failing("a0.1")
    with pytest.raises(PeerUnavailable):
        made.ask(A, 1, Withheld(PeerUnavailable("later")))
    held = made.get(A)
    with pytest.raises(OutOfOrder, match=r"no a0\.1"):
        made.get(A)
    assert made.closed == made.lanes[:1]
    assert made.ask(A) == ["a1.0"]
    with made.stock.spending(held):
        pass
    assert made.taken == made.stock.count == 0


def test_one_that_fails_leaves_those_that_were_made_to_others(made: Made) -> None:
    made.way = failing("b0.0")
    held = made.get(A)
    with pytest.raises(OutOfOrder):
        made.get(B, 2)
    eventually(lambda: not made.stock._makers)
    assert made.taken == len(held) + made.stock.count


def test_an_item_whose_conversation_is_to_end_serves_nobody(made: Made) -> None:
    """Another query's failure ends it while the item is made."""
    held = made.get(A)
    made.go.clear()
    asking = made.stock.collect(A, 1)
    waiting(asking)
    eventually(lambda: made.begun == ["a0.0", "a0.1"])
    with pytest.raises(OutOfOrder), made.stock.spending(held):
        raise OutOfOrder("by S2")
    assert not made.closed
    made.go.set()
    with pytest.raises(BrokenOff, match="ask again"):
        finish(asking)
    eventually(lambda: not made.stock._makers)
    assert made.closed == made.lanes
    assert made.taken == made.stock.count == 0


def test_an_error_that_nobody_planned_is_for_the_log(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    def way(name: str) -> None:
        raise KeyError("secret")

    made.way = way
    with pytest.raises(TwinveilError, match="its log says why") as raised:
        made.get(A)
    assert "secret" not in str(raised.value)
    assert "secret" in caplog.text
    assert made.taken == 0


def test_one_that_cannot_be_made_ahead_is_not_tried_again() -> None:
    made = Made(keep=1, way=failing("a0.0"))
    made.stock.want(A)
    eventually(lambda: bool(made.closed) and not made.stock._makers)
    assert made.begun == ["a0.0"]
    assert made.taken == 0


def test_a_query_that_is_left_while_its_item_is_made(made: Made) -> None:
    made.go.clear()
    asking = made.stock.collect(A, 1)
    waiting(asking)
    eventually(lambda: len(made.begun) == 1)
    asking.close()
    made.go.set()
    made.ready(1)
    assert made.ask(A) == ["a0.0"]


def test_what_a_query_that_is_left_has_not_begun_is_not_made(made: Made) -> None:
    made.go.clear()
    asking = made.stock.collect(A, 10)
    waiting(asking)
    eventually(lambda: len(made.begun) == LANES)
    asking.close()
    made.go.set()
    made.ready(LANES)
    assert len(made.begun) == made.taken == LANES


def test_a_query_that_is_left_gives_back_what_it_has(made: Made) -> None:
    with pytest.raises(PeerUnavailable):
        made.ask(A, 1, Withheld(PeerUnavailable("later")))
    made.go.clear()
    with closing(made.stock.collect(A, 2)) as asking:
        waiting(asking)
        eventually(lambda: len(made.begun) == 2)
        assert made.stock.count == 0
    made.go.set()
    made.ready(2)


def test_an_item_that_s2_leaves_as_it_is_made_serves_nobody(made: Made) -> None:
    made.way = lambda name: setattr(made.lanes[0].wire, "left", True)
    with pytest.raises(BrokenOff, match="ask again"):
        made.get(A)
    assert made.closed == made.lanes
    assert made.taken == made.stock.count == 0
