"""Queries at S2: the user's half waits here, a conversation with S1 takes it, the answer's half goes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Sequence

from gmpy2 import mpz

from cloud_s2.models import ModelsS2
from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.net.identity import PeerIdentity
from twinveil.params import Params
from twinveil.protocol.query.binding import QueryHead
from twinveil.rendezvous import Rendezvous
from twinveil.requests import read_query
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress

HEARTBEAT = 0.5
"""Seconds between signs of life to a waiting user, by which a user that went away is noticed."""

ANSWER_SECONDS = 3600.0


class Pending:
    """One user's query: a Claim of twinveil.protocol.query.s2."""

    def __init__(self, head: QueryHead, half: Sequence[mpz]) -> None:
        self.head = head
        self.half = half
        self.figures: Callable[[], object] = dict
        self.claimed = False
        self._answer: bytes | None = None
        self._error: TwinveilError | None = None
        self._done = threading.Event()

    def deliver(self, answer: bytes) -> None:
        self._answer = answer
        self._done.set()

    def fail(self, error: TwinveilError) -> None:
        """The conversation has ended; without effect after deliver()."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self, seconds: float) -> bytes | None:
        """The answer, None if it is not there yet; raises what ended the conversation."""
        if not self._done.wait(seconds):
            return None
        if self._error is not None:
            raise self._error
        return self._answer


class QueriesS2:
    """An InferenceHandler, and the place where conversations find what users sent.

    unclaimed: seconds that a half waits for its conversation; S1 may have to prepare the query first.
    """

    def __init__(self, models: ModelsS2, params: Params, n: mpz, unclaimed: float) -> None:
        self._models = models
        self._params = params
        self._n = n
        self._unclaimed = unclaimed
        self._pending: Rendezvous[Pending] = Rendezvous("query")
        self._lock = threading.Lock()
        self.running = 0

    def claim(self, query_id: bytes, seconds: float, check: Callable[[QueryHead], None]) -> Pending:
        """The half of this query, for one conversation. What `check` raises leaves it where it is."""
        pending = self._pending.claim(query_id, seconds, lambda pending: check(pending.head))
        pending.claimed = True
        return pending

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        record = self._models.store.find(query.model, query.version)
        head, half = read_query(query, caller, record, self._params, self._n)
        pending = Pending(head, half)
        self._pending.deposit(query.query_id, pending)
        waited = 0.0
        with self._lock:
            self.running += 1
        try:
            while waited < (ANSWER_SECONDS if pending.claimed else self._unclaimed):
                answer = pending.wait(HEARTBEAT)
                if answer is not None:
                    return AnswerHalf(half=answer, figures_json=json.dumps(pending.figures()))
                waited += HEARTBEAT
                yield Progress()
            done = "finish" if pending.claimed else "take up"
            raise PeerUnavailable(f"cloud_s1 did not {done} this query in time: ask again")
        finally:
            with self._lock:
                self.running -= 1
            self._pending.withdraw(query.query_id)
