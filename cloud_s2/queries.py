"""Queries at S2: the user's half waits here, a conversation with S1 takes it, the answer's half goes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Sequence

from gmpy2 import mpz

from cloud_s2.models import ModelsS2
from cloud_s2.pending import Pending
from twinveil.cloud.rendezvous import Rendezvous
from twinveil.cloud.requests import Query, read_query
from twinveil.params import Params
from twinveil.protocol.binding import Claim, QueryHead
from twinveil.ring import Words
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.transport.identity import PeerIdentity

ANSWER_SECONDS = 3600.0


class PendingQuery(Pending[bytes]):
    """One user's query and S2's half of its answer."""

    def __init__(self, query: Query) -> None:
        super().__init__("this query", "ask again")
        self.query = query
        self.figures: Callable[[], object] = dict

    @property
    def packed(self) -> Claim[Sequence[Words]]:
        """As a conversation of this engine takes it."""
        return Claim(self.query.head, self.query.words, self.finish)

    @property
    def textbook(self) -> Claim[Sequence[mpz]]:
        """The same."""
        return Claim(self.query.head, self.query.residues, self.finish)


class QueriesS2:
    """An InferenceHandler, and the place where conversations find what users sent.

    unclaimed: seconds that a half waits for its conversation; S1 may have to make items first.
    """

    def __init__(self, models: ModelsS2, params: Params, n: mpz, unclaimed: float) -> None:
        self._models = models
        self._params = params
        self._n = n
        self._unclaimed = unclaimed
        self._pending: Rendezvous[PendingQuery] = Rendezvous("query")
        self._lock = threading.Lock()
        self.running = 0

    def claim(self, query_id: bytes, seconds: float, check: Callable[[QueryHead], None]) -> PendingQuery:
        """The half of this query, for one conversation. What `check` raises leaves it where it is."""
        pending = self._pending.claim(query_id, seconds, lambda pending: check(pending.query.head))
        pending.claimed = True
        return pending

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        record = self._models.store.find(query.model, query.version)
        pending = PendingQuery(read_query(query, caller, record, self._params, self._n))
        self._pending.deposit(query.query_id, pending)
        with self._lock:
            self.running += 1
        try:
            answer = yield from pending.outcome(self._unclaimed, ANSWER_SECONDS)
            return AnswerHalf(half=answer, figures_json=json.dumps(pending.figures()))
        finally:
            with self._lock:
                self.running -= 1
            self._pending.withdraw(query.query_id)
