"""Queries and items share S1's memory: every part is given back, and nothing stays open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from cloud_s1 import stock
from cloud_s1.queries import SPARE, QueriesS1
from cloud_s1.tokens import Tokens
from tests.security.world import OWNER, USER, Query, Wire, World, other_caller, tiny_model, tiny_plan
from twinveil.errors import BadInput, PeerMismatch, PeerUnavailable, TooLarge, TooMuch
from twinveil.parallel import INLINE
from twinveil.protocol.size import item_size, query_size
from twinveil.rehearsal.clouds import finish


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.outsource(tiny_model())
    return made


def query_bytes(world: World) -> int:
    return query_size(tiny_plan(), world.params, "packed", 1).memory


def item_bytes(world: World) -> int:
    return item_size(tiny_plan(), world.params).memory_s1


def with_memory(world: World, memory: int) -> QueriesS1:
    world.queries1 = QueriesS1(world.models1, world.way, INLINE, memory=memory)
    return world.queries1


def test_a_query_holds_its_memory_until_it_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "WAIT", 0.0)
    size = query_bytes(world) + item_bytes(world)
    queries = with_memory(world, size)
    first, second = world.query(tiny_plan()), world.query(tiny_plan())
    with closing(queries.classify(first.s1, USER)) as running:
        next(running)  # its item is being made
        with pytest.raises(TooMuch, match="taken by others"):
            finish(queries.classify(second.s1, USER))
    while queries.stock._makers:
        """The item that was begun is kept for another."""
    assert queries._budget._taken == item_bytes(world) * queries.stock.count
    world.ask(world.query(tiny_plan()))
    assert queries._budget._taken == 0
    with pytest.raises(TooMuch, match="fewer pictures"):
        finish(with_memory(world, query_bytes(world) - 1).classify(second.s1, USER))


def test_what_is_made_ahead_leaves_memory_to_queries(world: World) -> None:
    queries = with_memory(world, SPARE * item_bytes(world))
    record = world.models1.store.find("tiny", "1")
    with queries._item_memory(record, ahead=True):
        with pytest.raises(TooMuch):
            queries._item_memory(record, ahead=True)
        assert queries._budget._taken == item_bytes(world)  # what could not be had whole is given back
        with queries._item_memory(record, ahead=False):
            pass
    assert queries._budget._taken == queries._spare._taken == 0


def test_a_conversation_that_cannot_begin_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    peers: list[Wire] = []

    def failing(peer: object, *_: object) -> NoReturn:
        raise BadInput("no such items")

    peer = world.way.peer
    monkeypatch.setattr(world.way, "peer", lambda: peers.append(peer()) or peers[-1])  # type: ignore[arg-type, func-returns-value]
    monkeypatch.setattr("cloud_s1.queries.MakerS1", failing)
    with pytest.raises(BadInput, match="no such items"):
        finish(world.queries1.classify(world.query(tiny_plan()).s1, USER))
    assert [each.left for each in peers] == [True]
    assert world.queries1._budget._taken == world.queries1.running == 0


def test_items_of_one_model_give_way_to_another(world: World) -> None:
    """S1's memory is full of what nobody waits for."""
    world.outsource(tiny_model(1), name="other")
    queries = with_memory(world, query_bytes(world) + item_bytes(world))
    world.make_items(ahead=False)
    world.ask(world.query(tiny_plan(), name="other"))
    assert queries.stock.count == 0
    world.make_items(name="other", ahead=False)
    world.ask(world.query(tiny_plan()))
    assert queries._budget._taken == 0


def test_nothing_gives_way_to_what_never_fits(world: World) -> None:
    """Or anybody could end what lies ready for all."""
    queries = with_memory(world, max(query_bytes(world) - 1, item_bytes(world)))
    world.make_items(ahead=False)
    with pytest.raises(TooLarge, match="ask for fewer pictures"):
        finish(queries.classify(world.query(tiny_plan()).s1, USER))
    assert queries.stock.count == 1
    world.outsource(tiny_model(1), name="other")
    world.budget2._most = 1
    with pytest.raises(TooLarge, match="cloud_s2 has"):
        world.make_items(name="other", ahead=False)
    assert queries.stock.count == 1


def test_items_of_one_model_give_way_to_another_at_s2(world: World) -> None:
    world.outsource(tiny_model(1), name="other")
    world.make_items()
    with world.budget2.take(world.budget2._most - world.budget2._taken):
        world.make_items(name="other", ahead=False)
    assert [held.lane.record.model for held in world.queries1.stock._ready] == ["other"]


BAD = other_caller(USER)
TOKENS = 3


def with_tokens(world: World, ahead: int = 0) -> QueriesS1:
    """Of a clock that stands still."""
    tokens = Tokens(TOKENS, 60.0, lambda: 0.0)
    world.queries1 = QueriesS1(world.models1, world.way, INLINE, ahead, tokens=tokens)
    return world.queries1


def leaves(world: World, query: Query) -> None:
    with closing(world.queries1.classify(query.s1, BAD)) as asking:
        next(asking)


def never_asks_s2(world: World, query: Query) -> None:
    with pytest.raises(PeerUnavailable, match="did not arrive"):
        finish(world.queries1.classify(query.s1, BAD))


def sends_anothers_half(world: World, query: Query) -> None:
    with closing(world.queries2.classify(query.s2, USER)) as waiting:
        next(waiting)
        with pytest.raises(PeerMismatch):
            finish(world.queries1.classify(query.s1, BAD))


def goes_before_the_answer(world: World, query: Query) -> None:
    with closing(world.queries2.classify(query.s2, BAD)) as waiting:
        next(waiting)
        with closing(world.queries1.classify(query.s1, BAD)) as asking:
            while next(asking).label != "answered":
                """It is computed."""


@pytest.mark.parametrize(
    ("fails", "burnt"),
    [(leaves, 0), (never_asks_s2, 0), (sends_anothers_half, 0), (goes_before_the_answer, TOKENS)],
)
def test_who_breaks_off_a_hundred_times_costs_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, fails: Callable[[World, Query], None], burnt: int
) -> None:
    """As many as it has tokens are begun; for a hundred others nothing is taken or made, S2 hears nothing."""
    monkeypatch.setattr("cloud_s2.conversations.HALF_SECONDS", 0.0)
    queries = with_tokens(world)
    world.make_items(TOKENS + 1)
    before = {held.item.name.number for held in queries.stock._ready}
    for _ in range(TOKENS):
        fails(world, world.query(tiny_plan()))
    left = {held.item.name.number for held in queries.stock._ready}
    assert left <= before
    assert len(left) == TOKENS + 1 - burnt == world.shelves.count
    monkeypatch.setattr(world.way, "peer", lambda: pytest.fail("a conversation begins"))
    for _ in range(100):
        with pytest.raises(TooMuch, match="ask again in 60 s"):
            finish(queries.classify(world.query(tiny_plan()).s1, BAD))
    assert {held.item.name.number for held in queries.stock._ready} == left
    assert not queries.stock._wishes
    assert queries.running == 0
    monkeypatch.undo()
    monkeypatch.setattr("cloud_s2.conversations.HALF_SECONDS", 0.0)
    for _ in range(TOKENS + 1):  # another user's, and they cost no token
        world.ask(world.query(tiny_plan()))


def test_a_user_without_tokens_ends_nobody_s_items(world: World) -> None:
    """What lies ready would give way to the memory of its query."""
    queries = with_tokens(world)
    for _ in range(TOKENS):
        leaves(world, world.query(tiny_plan()))
    world.make_items(2)
    with queries._budget.take(queries._budget._most - queries._budget._taken):
        with pytest.raises(TooMuch, match="ask again in"):
            finish(queries.classify(world.query(tiny_plan()).s1, BAD))
        assert queries.stock.count >= 2


def test_what_the_clouds_lack_costs_no_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = with_tokens(world)
    monkeypatch.setattr(queries.stock, "_begin", failing_begin)
    for _ in range(2 * TOKENS):
        with pytest.raises(PeerUnavailable, match="S2 is away"):
            finish(queries.classify(world.query(tiny_plan()).s1, USER))
    monkeypatch.undo()
    world.ask(world.query(tiny_plan()))


def failing_begin(record: object) -> NoReturn:
    raise PeerUnavailable("S2 is away")


def test_a_user_leaves_others_their_part_of_what_lies_ready(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = with_tokens(world, ahead=4)
    monkeypatch.setattr(queries.stock, "want", lambda record: None)
    world.make_items(4)
    world.ask(world.query(tiny_plan()))  # a user who is seen
    world.make_items(4)
    for left in (3, 2, 1):  # half of four, and half of what there was in all, the other's rounded up
        finish_both(world, world.query(tiny_plan()))
        assert queries.stock.count == left
    finish_both(world, world.query(tiny_plan()))  # by one that is made for it
    assert queries.stock.count == 1
    world.ask(world.query(tiny_plan()))
    assert queries.stock.count == 0


def finish_both(world: World, query: Query) -> None:
    with closing(world.queries2.classify(query.s2, BAD)) as waiting:
        next(waiting)
        finish(world.queries1.classify(query.s1, BAD))


def test_only_its_owner_hears_how_many_lie_ready(world: World) -> None:
    world.provision1._ready = lambda: world.queries1.stock.ready()
    world.make_items(3)
    ((own,), (others,)) = (world.provision1.list_models(who) for who in (OWNER, other_caller(OWNER)))
    assert own.ready == 3
    assert not others.HasField("ready")
    assert not world.models1.store.entries()[0].HasField("ready")  # what status tells everybody


def test_a_user_does_not_wait_for_the_end_of_the_conversation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes a round trip; what is made ahead waits, as S2 has its memory back only then."""
    ended, wanted = threading.Event(), threading.Event()
    close = Wire.close
    query = world.query(tiny_plan())
    world.make_items(ahead=False)

    def slowly(wire: Wire) -> None:
        assert ended.wait(20)
        close(wire)

    monkeypatch.setattr(Wire, "close", slowly)
    monkeypatch.setattr(world.queries1.stock, "want", lambda _: wanted.set())
    world.ask(query)
    assert not wanted.is_set()
    ended.set()
    assert wanted.wait(20)
