"""Items at S1: ready or made for who waits; an end gives back what it held, and nothing serves twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloud_s1 import stock
from cloud_s1.models import MAX_LOADED
from cloud_s1.stock import LANES, Held, Lane, Stock
from twinveil.cloud.budget import Budget
from twinveil.cloud.store import Record
from twinveil.errors import BrokenOff, OutOfOrder, PeerUnavailable, TooMuch, TwinveilError
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rehearsal.clouds import finish

SECONDS = 10.0
"""A test that waits longer has failed."""


def record(name: str) -> Record:
    return cast("Record", SimpleNamespace(import_id=name.encode()))


A, B = record("a"), record("b")


class Maker:
    """A conversation's maker: gives numbered items, or what `way` says; may be made to wait."""

    def __init__(self, made: Made, of: Record, number: int) -> None:
        self._made, self._of, self._number, self._count = made, of, number, 0

    def make(self) -> str:
        made, self._count = self._made, self._count + 1
        name = f"{self._of.import_id.decode()}{self._number}.{self._count - 1}"
        with made.lock:
            made.begun.append(name)
        if not made.go.wait(SECONDS):
            raise RuntimeError("nobody lets it go")
        made.way(name)
        return name


@dataclass
class Made:
    """A stock over conversations of no S2. way: may raise for an item; go: items may come to their end."""

    keep: int = 0
    most: int = 64
    memory: int = 1 << 20
    way: Callable[[str], object] = lambda name: None
    begun: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    closed: list[Lane] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.budget = Budget("cloud_s1", self.memory)
        self.stock = Stock(self.keep, self.begin, self.room, self.most)
        self.go.set()

    def begin(self, of: Record) -> Lane:
        wire = SimpleNamespace(left=False)
        maker: Any = Maker(self, of, sum(each.record is of for each in self.lanes))
        lane = Lane(of, maker, cast("Any", wire), lambda: self.closed.append(lane))
        self.lanes.append(lane)
        return lane

    def room(self, of: Record, ahead: bool) -> ExitStack:
        with ExitStack() as held:
            held.enter_context(self.budget.take(1))
            return held.pop_all()

    @property
    def taken(self) -> int:
        """Items that have a part of the memory."""
        return self.budget._taken

    def get(self, of: Record, count: int = 1) -> list[Held]:
        return finish(self.stock.collect(of, count))

    def ask(self, of: Record, count: int = 1, error: BaseException | None = None) -> list[str]:
        """A query: the items' names."""
        with self.stock.spending(self.get(of, count)) as items:
            if error is not None:
                raise error
            return [str(each) for each in items]

    def ready(self, count: int) -> None:
        """Waits until so many lie ready, and nothing else is coming."""
        eventually(lambda: self.stock.count == count and not self.stock._makers)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "WAIT", 0.001)


@pytest.fixture
def made() -> Iterator[Made]:
    found = Made()
    yield found
    found.go.set()
    eventually(lambda: not found.stock._makers)


def waiting(of: Generator[Any, None, Any]) -> None:
    """As far as its first sign of life."""
    assert next(of).label == "preparing"


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


@pytest.mark.parametrize("when", ["ready", "being made", "waited for", "in a query"])
def test_a_model_that_is_removed_takes_its_items_along(made: Made, when: str) -> None:
    if when == "ready":
        with pytest.raises(PeerUnavailable):
            made.ask(A, 2, Withheld(PeerUnavailable("later")))
        made.stock.forget(b"a")
    elif when == "in a query":
        with made.stock.spending(made.get(A)):
            made.stock.forget(b"a")
    else:
        made.go.clear()
        asking = made.stock.collect(A, 1 if when == "being made" else LANES + 1)
        waiting(asking)
        eventually(lambda: len(made.begun) == min(LANES, 1 if when == "being made" else LANES))
        made.stock.forget(b"a")
        assert not made.closed  # nobody else touches a conversation in which an item is made
        made.go.set()
        with pytest.raises(BrokenOff, match="removed"):
            finish(asking)
    eventually(lambda: set(made.closed) == set(made.lanes) and not made.stock._makers)
    assert made.stock.count == made.taken == 0
    assert not made.stock._lanes


def test_a_model_that_is_removed_while_a_conversation_begins(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = made.begin

    def removed(of: Record) -> Lane:
        made.stock.forget(of.import_id)
        return begin(of)

    monkeypatch.setattr(made.stock, "_begin", removed)
    with pytest.raises(BrokenOff, match="removed"):
        made.get(A)
    assert made.closed == made.lanes
    assert made.stock.count == made.taken == 0


def test_what_nobody_waits_for_gives_way_to_who_asks() -> None:
    made = Made(memory=3)
    for of in (A, B):
        with pytest.raises(PeerUnavailable):
            made.ask(of, 1, Withheld(PeerUnavailable("later")))
    third = made.get(record("c"))
    assert made.taken == 3
    assert len(made.ask(record("d"))) == 1
    assert made.closed == made.lanes[:1]
    held = made.get(B)
    with pytest.raises(TooMuch, match="taken by others"):
        made.get(record("d"), 2)
    for each in (held, third):
        with made.stock.spending(each):
            pass
    assert made.taken == made.stock.count


def test_what_nobody_waits_for_gives_way_where_s2_has_no_memory(made: Made) -> None:
    """S2's refusal ends no conversation, and its memory is full of another model's items."""
    with pytest.raises(PeerUnavailable):
        made.ask(B, 1, Withheld(PeerUnavailable("later")))

    def way(name: str) -> None:
        if made.stock.count:
            raise Withheld(TooMuch("cloud_s2's memory is taken by others"))

    made.way = way
    assert made.ask(A) == ["a0.1"]
    assert made.closed == [lane for lane in made.lanes if lane.record is B]


def test_s2s_refusal_ends_no_conversation(made: Made) -> None:
    with pytest.raises(PeerUnavailable):
        made.ask(A, 1, Withheld(PeerUnavailable("later")))
    held, full = made.get(A), [True]

    def way(name: str) -> None:
        if full[0]:
            raise Withheld(TooMuch("cloud_s2's memory is taken by others"))

    made.way = way
    with pytest.raises(TooMuch, match="cloud_s2's"):
        made.get(A)
    full[0] = False
    assert made.ask(A) == ["a0.2"]
    assert len(made.lanes) == 1
    assert not made.closed
    assert len(held) == made.taken == 1


def test_nothing_gives_way_to_what_is_made_ahead() -> None:
    made = Made(keep=1, memory=1)
    made.stock.want(A)
    made.ready(1)
    made.stock.want(B)
    eventually(lambda: not made.stock._makers)
    assert made.begun == ["a0.0"]
    assert made.stock.count == 1


def test_the_oldest_give_way_where_as_many_lie_ready_as_may() -> None:
    made = Made(keep=1, most=2)
    for of in (A, B, record("c")):
        made.stock.want(of)
        eventually(lambda: not made.stock._makers)
    assert made.stock.count == 2
    assert made.closed == made.lanes[:1]


def test_few_models_have_conversations_at_once() -> None:
    """Each keeps its model in memory, with tables that are larger than many items."""
    made = Made(keep=1)
    names = [str(number) for number in range(MAX_LOADED + 2)]
    for name in names:
        made.stock.want(record(name))
        eventually(lambda: not made.stock._makers)
    kept = {lane.record.import_id.decode() for lane in made.stock._lanes}
    assert kept == set(names[-MAX_LOADED:])
    assert made.stock.count == MAX_LOADED


def test_what_queries_hold_and_what_is_made_does_not_give_way(made: Made) -> None:
    held = made.get(A)
    made.go.clear()
    asking = made.stock.collect(B, 1)
    waiting(asking)
    assert not made.stock.give_way()
    made.go.set()
    more = finish(asking)
    assert not made.stock.give_way()
    for each in (held, more):
        with made.stock.spending(each):
            pass
    assert made.stock.give_way()
    assert made.stock.give_way()
    assert not made.stock.give_way()


def test_many_at_once(made: Made) -> None:
    """Every item serves one query, and all memory comes back."""
    names, lock = list[str](), threading.Lock()

    def ask(of: Record) -> None:
        for _ in range(10):
            found = made.ask(of, 2)
            with lock:
                names.extend(found)

    threads = [threading.Thread(target=ask, args=(each,)) for each in (A, B, A, B)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(SECONDS)
    assert len(names) == len(set(names)) == 80
    eventually(lambda: not made.stock._makers)
    assert made.taken == made.stock.count
