"""Users at S1: every query is one conversation with S2; a packed one spends an item a picture."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from cloud_s1.models import ModelsS1
from cloud_s1.stock import Held, Lane, Stock
from cloud_s1.tokens import Shares, Stake, Tokens
from cloud_s1.way_to_s2 import CloudS2, PeerS2, Tools
from twinveil.cloud.budget import ITEM, QUERY, Budget, Taker, half_of_memory
from twinveil.cloud.requests import Query, read_query
from twinveil.cloud.store import Record
from twinveil.errors import TwinveilError
from twinveil.parallel import Workers
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.s1 import MakerS1
from twinveil.protocol.packed.online.s1 import query_s1 as packed_query
from twinveil.protocol.size import item_size, query_size
from twinveil.protocol.textbook.query.s1 import query_s1 as textbook_query
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.observed import ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.start.settings import FAILED_ITEM_EVERY, FAILED_ITEMS, USER_SHARE
from twinveil.transport.identity import PeerIdentity

SPARE = 4
"""One part in so many of the memory for queries is the most that items made ahead hold."""


def _nothing() -> None:
    pass


class QueriesS1:
    """An InferenceHandler. ahead: items that are kept ready for each model in use.

    memory: bytes that items and queries may take at once; None: half of the machine's. tokens: what a user's
    failing queries may cost. share: percentage of the items ahead that one user takes while others ask, too.
    """

    def __init__(
        self,
        models: ModelsS1,
        cloud_s2: CloudS2,
        workers: Workers,
        ahead: int = 0,
        observers: Callable[[], Observer] = lambda: NOBODY,
        memory: int | None = None,
        tokens: Tokens | None = None,
        share: int = USER_SHARE,
    ) -> None:
        memory = half_of_memory() if memory is None else memory
        self._budget, self._spare = Budget("cloud_s1", memory), Budget("cloud_s1", memory // SPARE)
        self._observers = observers
        self._models = models
        self._cloud_s2 = cloud_s2
        self._workers = workers
        self._lock = threading.Lock()
        self._tokens = tokens or Tokens(FAILED_ITEMS, FAILED_ITEM_EVERY)
        self._shares = Shares(ahead, share)
        self.stock = Stock(ahead, self._lane, self._item_memory)
        self.running = 0

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        record = self._models.store.find(query.model, query.version)
        tools = self._cloud_s2.tools(self._workers)
        asked = read_query(query, caller, record, tools.params, tools.key.n)
        with self._counted():
            if query.engine == "packed":
                with self._tokens.risking(caller.fingerprint, query.pictures) as stake:
                    answer, meter = yield from self._packed(record, asked, tools, caller, stake)
                    # Nobody's any more if the user has gone: that ends it here.
                    yield Progress(stage=query.pictures, stages=query.pictures, label="answered")
            else:
                answer, meter = yield from self._textbook(record, asked, tools)
        return AnswerHalf(half=answer, figures_json=json.dumps(meter.as_dict()))

    def _packed(
        self, record: Record, asked: Query, tools: Tools, caller: PeerIdentity, stake: Stake
    ) -> Generator[Progress, None, tuple[bytes, Meter]]:
        model = self._models.load(record, tools.key).for_packed
        size = query_size(record.plan, tools.params, "packed", asked.head.pictures).memory
        with (
            self._memory(size),
            self.stock.spending((yield from self._collected(record, asked, caller, stake))) as items,
            self._conversation(lambda: self.stock.want(record)) as (peer, observer),
        ):
            meter = Meter(peer)
            answer = packed_query(
                peer.ask, model, asked.head, asked.words, items, tools.key.n, meter, observer
            )
        return answer, meter

    def _collected(
        self, record: Record, asked: Query, caller: PeerIdentity, stake: Stake
    ) -> Generator[Progress, None, list[Held]]:
        """That none can be made is not its user's doing."""
        share = partial(self._shares.take, caller.fingerprint, record.import_id)
        try:
            return (yield from self.stock.collect(record, asked.head.pictures, share))
        except TwinveilError:
            stake.at_risk = False
            raise

    def _textbook(
        self, record: Record, asked: Query, tools: Tools
    ) -> Generator[Progress, None, tuple[bytes, Meter]]:
        model = self._models.load(record, tools.key).for_textbook
        size = query_size(record.plan, tools.params, "textbook").memory
        with self._memory(size), self._conversation() as (peer, observer):
            meter = Meter(peer)
            answer = yield from textbook_query(
                peer.ask,
                model,
                asked.head,
                asked.residues,
                tools.key,
                tools.params,
                meter,
                observer=observer,
            )
            return answer, meter

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1

    @contextmanager
    def _conversation(self, then: Callable[[], None] = _nothing) -> Iterator[tuple[CountedPeer, Observer]]:
        """A query's. `then`: once it was answered, and S2 has let go of what it held.

        That takes a round trip, for which the user does not wait.
        """
        observer, wire = self._observers(), self._cloud_s2.peer()
        try:
            yield CountedPeer(ObservedPeer(wire, observer)), observer
        except BaseException:
            then = _nothing
            raise
        finally:
            observer.close()
            threading.Thread(target=_leave, args=(wire, then), name="leaving").start()

    def _lane(self, record: Record) -> Lane:
        """A new conversation for items of this model."""
        tools = self._cloud_s2.tools(self._workers)
        model = self._models.load(record, tools.key).for_packed
        observer, wire = self._observers(), self._cloud_s2.peer()
        peer = ObservedPeer(wire, observer)
        try:
            plan = model.layout.items
            maker = MakerS1(peer, record.import_id, model, plan, tools.machine, record.label_only, observer)
        except BaseException:
            peer.close()
            raise
        return Lane(record, maker, wire, peer.close)

    def _memory(self, size: int) -> ExitStack:
        """A query's. What lies ready for nobody gives way to it."""
        return self.stock.giving_way(lambda: _taken(size, self._budget))

    def _item_memory(self, record: Record, ahead: bool) -> ExitStack:
        """An item's. Those made ahead leave most of the memory to queries that run."""
        size = item_size(record.plan, record.layouts.params).memory_s1
        budgets = (self._budget, self._spare) if ahead else (self._budget,)
        return _taken(size, *budgets, taker=ITEM)


def _leave(wire: PeerS2, then: Callable[[], None]) -> None:
    wire.close()
    then()


def _taken(size: int, *budgets: Budget, taker: Taker = QUERY) -> ExitStack:
    """So much of each, or of none."""
    with ExitStack() as held:
        for budget in budgets:
            held.enter_context(budget.take(size, taker))
        return held.pop_all()
