"""S1's conversations with S2: an import, items of a model or a query each, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest

from cloud_s2.models import ModelsS2
from cloud_s2.provision import PendingImport, ProvisionS2
from cloud_s2.queries import PendingQuery, QueriesS2
from twinveil.cloud.budget import ITEM, Budget
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import BadInput, BrokenOff, OutOfOrder, PeerMismatch
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.s2 import import_model
from twinveil.protocol.packed.item.conversation import items_s2
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.online.s2 import query_s2 as packed_query
from twinveil.protocol.size import item_size
from twinveil.protocol.textbook.query.s2 import query_s2 as textbook_query
from twinveil.rounds.observed import ObservedConversation
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Conversation
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb
from twinveil.transport.identity import PeerIdentity

HALF_SECONDS = 20.0
"""How long S1's side of an import or query waits for the client's half to reach S2."""


@dataclass(frozen=True)
class Conversations:
    """Opens conversations; given to RoundsServicer. budget: memory for items."""

    key: SecretKey
    params: Params
    workers: Workers
    models: ModelsS2
    provision: ProvisionS2
    queries: QueriesS2
    shelves: Shelves
    budget: Budget
    observers: Callable[[], Observer] = lambda: NOBODY

    def open(self, caller: PeerIdentity) -> Conversation:
        """The table of callers lets only S1 come here."""
        observer = self.observers()
        return ObservedConversation(Scripted(partial(self._start, observer)), observer)

    def _start(self, observer: Observer, message: pb.Round) -> Script:
        match message.WhichOneof("body"):
            case "open_import":
                return self._import(message.open_import, observer)
            case "open_items":
                return self._items(message.open_items, observer)
            case "spend":
                return self._spend(message.spend, observer)
            case "open_query":
                return self._query(message.open_query, observer)
            case other:
                raise OutOfOrder(f"a conversation begins with an import, items or a query, not {other!r}")

    def _import(self, opening: pb.OpenImport, observer: Observer) -> Script:
        def check(pending: PendingImport) -> None:
            if not compare_digest(opening.binding, pending.binding):
                raise PeerMismatch(
                    "the two halves of this import are of different owners, models or policies"
                )

        pending = self.provision.claim(opening.import_id, HALF_SECONDS, check)
        try:
            record = pending.record
            model = yield from import_model(
                opening, record.layouts, pending.halves, self.key, self.workers, observer
            )
            self.models.keep(record, model)
            pending.finish(record.entry())
            yield pb.Round(done=pb.Done())
        finally:
            pending.fail(BrokenOff("the import was broken off: outsource the model again"))

    def _items(self, opening: pb.OpenItems, observer: Observer) -> Script:
        record, model = self.models.load(opening.import_id)
        memory = item_size(record.plan, record.layouts.params).memory_s2

        def room() -> Callable[[], None]:
            held = ExitStack()
            held.enter_context(self.budget.take(memory, ITEM))
            return held.close

        return items_s2(
            opening,
            model.for_packed,
            self.key,
            self.shelves,
            record.label_only,
            room,
            self.workers,
            observer,
        )

    def _spend(self, spend: pb.Spend, observer: Observer) -> Script:
        record, model = self.models.load(spend.import_id)
        meter = Meter()
        with self._claiming(meter) as claim:
            yield from packed_query(
                spend,
                model.for_packed,
                self.key.public_key,
                self.shelves,
                lambda query_id, check: claim(query_id, check).packed,
                record.label_only,
                meter,
                observer,
            )

    def _query(self, opening: pb.OpenQuery, observer: Observer) -> Script:
        record, model = self.models.load(opening.import_id)
        meter = Meter(tally=self.key.tally)
        if "textbook" not in record.engines:
            raise BadInput(f"this model was outsourced for {' and '.join(record.engines)}")
        with self._claiming(meter) as claim:
            yield from textbook_query(
                opening,
                model.layouts.textbook,
                self.key,
                self.workers,
                lambda query_id, check: claim(query_id, check).textbook,
                record.label_only,
                meter,
                observer=observer,
            )

    @contextmanager
    def _claiming(
        self, meter: Meter
    ) -> Iterator[Callable[[bytes, Callable[[QueryHead], None]], PendingQuery]]:
        """Takes users' halves; whoever waits for one at the end has waited in vain. meter: of their query."""
        claimed: list[PendingQuery] = []

        def claim(query_id: bytes, check: Callable[[QueryHead], None]) -> PendingQuery:
            pending = self.queries.claim(query_id, HALF_SECONDS, check)
            pending.figures = meter.as_dict
            claimed.append(pending)
            return pending

        try:
            yield claim
        finally:
            for pending in claimed:
                pending.fail(BrokenOff("the query was broken off: ask again"))
