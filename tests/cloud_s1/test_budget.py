"""Memory for queries at once: what does not fit is refused, and every part is given back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest

from cloud_s1.budget import Budget
from cloud_s1.queries import SPARE, QueriesS1
from cloud_s1.way_to_s2 import CloudS2, PeerS2
from tests.security.world import USER, Way, World, finish, tiny_model
from twinveil.errors import BadInput, OutOfOrder, TooMuch
from twinveil.parallel import INLINE
from twinveil.protocol.size import query_size
from twinveil.rounds.peer import Peer


def test_what_does_not_fit_beside_the_others_is_refused() -> None:
    budget = Budget(10)
    with pytest.raises(TooMuch, match="ask for fewer pictures"), budget.take(11):
        pass
    with budget.take(6), budget.take(4), pytest.raises(TooMuch, match="try again later"), budget.take(1):
        pass
    with pytest.raises(OutOfOrder), budget.take(10):
        raise OutOfOrder("however it ends")
    with budget.take(10):
        pass


class Closed:
    """Counts the conversations that are closed."""

    def __init__(self) -> None:
        self.opened, self.closed = 0, 0

    def wrap(self, peer: Peer) -> Peer:
        close = peer.close
        self.opened += 1

        def counted() -> None:
            self.closed += 1
            close()

        peer.close = counted  # type: ignore[method-assign]
        return peer


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.outsource(tiny_model(), engines=("packed", "textbook"))
    return made


def clouds_s1(world: World, memory: int) -> QueriesS1:
    return QueriesS1(world.models1, cast("CloudS2", Way(world)), INLINE, memory=memory)


def test_queries_hold_their_memory_until_they_are_over(world: World) -> None:
    model = tiny_model()
    size = query_size(model.plan, world.params, "packed").memory
    world.queries1 = clouds_s1(world, size)
    first, second = world.query(model.plan), world.query(model.plan)
    waiting = world.queries2.classify(first.s2, USER)
    next(waiting)
    running = world.queries1.classify(first.s1, USER)
    next(running)
    with pytest.raises(TooMuch, match="taken by other queries"):
        finish(world.queries1.classify(second.s1, USER))
    running.close()  # the user went away
    waiting.close()
    world.ask(second)
    world.ask(world.query(model.plan))
    world.queries1 = clouds_s1(world, size - 1)
    with pytest.raises(TooMuch, match="fewer pictures"):
        finish(world.queries1.classify(world.query(model.plan).s1, USER))


def test_idle_queries_leave_memory_to_those_that_run(world: World) -> None:
    model = tiny_model()
    record = world.models1.store.find("tiny", "1")
    queries = clouds_s1(world, SPARE * query_size(model.plan, world.params, "packed").memory)
    idle = queries._new_ahead(record, "packed")
    with pytest.raises(TooMuch):
        queries._new_ahead(record, "packed")
    queries._new(record, "packed", 1).close()
    idle.close()
    queries._new_ahead(record, "packed").close()


def test_a_query_that_cannot_begin_leaves_nothing_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> NoReturn:
        raise BadInput("no such query")

    closed = Closed()
    world.wrap = closed.wrap
    monkeypatch.setattr("cloud_s1.queries.query_s1", failing)
    with pytest.raises(BadInput, match="no such query"):
        world.queries1._new(world.models1.store.find("tiny", "1"), "packed", 1)
    assert (closed.opened, closed.closed) == (1, 1)


def test_what_was_prepared_gives_way_to_who_asks(world: World) -> None:
    record = world.models1.store.find("tiny", "1")
    size = query_size(tiny_model().plan, world.params, "packed", 2).memory
    queries = clouds_s1(world, SPARE * size)
    idle = queries._new_ahead(record, "packed")
    idle.wire = cast("PeerS2", SimpleNamespace(left=False))
    queries.ahead._ready.append(idle)
    with queries._budget.take((SPARE - 1) * size):
        finish(queries._take(record, "packed", 2)).close()
    assert queries.ahead.count == 0
