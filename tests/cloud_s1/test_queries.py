"""Queries and items share S1's memory: every part is given back, and nothing stays open."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from cloud_s1 import stock
from cloud_s1.queries import SPARE, QueriesS1
from tests.security.world import USER, Wire, World, tiny_model, tiny_plan
from twinveil.errors import BadInput, TooLarge, TooMuch
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
