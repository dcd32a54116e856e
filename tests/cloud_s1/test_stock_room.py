"""What gives way at S1 where room is wanted: items of a model that is gone, and those nobody waits for."""

from __future__ import annotations

import threading

import pytest

from cloud_s1.models import MAX_LOADED
from cloud_s1.stock import LANES, Lane
from tests.cloud_s1.stocks import SECONDS, A, B, Made, eventually, record, waiting
from twinveil.cloud.store import Record
from twinveil.errors import BrokenOff, PeerUnavailable, TooMuch
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rehearsal.clouds import finish

pytestmark = pytest.mark.usefixtures("impatient")


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
