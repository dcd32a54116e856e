"""Both clouds in one process: the real protocol code of both sides, over MemoryPeer.

For experiments of a model's owner before anything is released, and for tests: user, S1 and S2 are played with
one key. No role imports this.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.halves import answers, blinding
from twinveil.halves.model import blind_model, model_half
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.protocol.engine import EngineS1, EngineS2
from twinveil.protocol.meter import Meter
from twinveil.protocol.model import s1 as model_s1
from twinveil.protocol.model import s2 as model_s2
from twinveil.protocol.model.layout import ImportLayout
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.protocol.query.s1 import Tools
from twinveil.rounds.chunks import MessageLimits
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb

_LIMITS = MessageLimits(message_bytes=1 << 30, conversation_bytes=1 << 32)
"""Nothing foreign arrives here; a model is as large as it is."""

Result = TypeVar("Result")


@dataclass
class Claimed:
    """The user's query as it lies at S2."""

    head: QueryHead
    half: Sequence[mpz]
    answer: bytes = b""

    def deliver(self, answer: bytes) -> None:
        self.answer = answer


@dataclass(frozen=True)
class Answered:
    """One query. values: class vectors (pictures, classes) or labels (pictures,)."""

    values: npt.NDArray[np.int64]
    meter_s1: Meter
    meter_s2: Meter
    engine_s1: EngineS1
    engine_s2: EngineS2


@dataclass
class Clouds:
    """A model at both clouds. observer: each cloud's, by role, for every conversation that begins."""

    model: QuantisedModel
    secret: SecretKey
    engines: tuple[str, ...] = ("packed",)
    workers_s1: Workers = INLINE
    workers_s2: Workers = INLINE
    observer: Callable[[str], Observer] = lambda role: NOBODY
    import_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def __post_init__(self) -> None:
        self.public = self.secret.public_key
        self.params = Params(self.public.bits, insecure_small_key=self.public.bits < 2048)
        self.tools = Tools(self.public, self.workers_s1, self.params)
        self.layout = ImportLayout(self.model.plan, self.params, self.engines)
        self.s1, self.s2 = self._import()

    def classify(
        self, images: npt.NDArray[np.uint8], engine: str = "packed", label_only: bool = False
    ) -> Answered:
        """Pictures (pictures, channels, height, width) through the protocol, as one query."""
        plan, n, pictures = self.model.plan, self.public.n, len(images)
        segment = blinding.picture_segment(
            plan, pictures, key_bits=self.params.key_bits, sigma=self.params.sigma
        )
        sent = blinding.blind_values(images.reshape(-1).astype(np.uint64), segment, n)
        mine, theirs = (blinding.decode(half, segment, n) for half in sent)
        head = QueryHead(
            secrets.token_bytes(16), "user", self.import_id, plan.hash, engine, label_only, pictures
        )
        claimed, meter_s2 = Claimed(head, theirs), Meter(tally=self.secret.tally)
        engines_s1: list[EngineS1] = []
        engines_s2: list[EngineS2] = []
        s1, s2 = self.observer("cloud_s1"), self.observer("cloud_s2")

        def script(opening: pb.Round) -> Script:
            return query_s2(
                opening.open_query,
                self.s2,
                self.secret,
                self.workers_s2,
                self.params,
                lambda *_: claimed,
                False,
                meter_s2,
                engines_s2.append,
                s2,
            )

        peer = _between(script, s1, s2)
        query = query_s1(self.s1, self.import_id, engine, self.tools, peer, pictures, engines_s1.append, s1)
        with closing(peer):
            query.prepare()
            half = finish(query.classify(head, mine))
        combine = answers.labels if label_only else answers.class_vectors
        values = combine(half, claimed.answer, plan, pictures)
        return Answered(values, query.meter, meter_s2, engines_s1[0], engines_s2[0])

    def _import(self) -> tuple[model_s1.ModelS1, model_s2.ModelS2]:
        plan, n = self.model.plan, self.public.n
        mine, theirs = (
            model_half(plan, self.params, n, half) for half in blind_model(self.model, self.params, n)
        )
        kept: list[model_s2.ModelS2] = []
        s1, s2 = self.observer("cloud_s1"), self.observer("cloud_s2")

        def script(opening: pb.Round) -> Script:
            model = yield from model_s2.import_model(
                opening.open_import, self.layout, theirs, self.secret, INLINE, s2
            )
            kept.append(model)
            yield pb.Round(done=pb.Done())

        with closing(_between(script, s1, s2)) as peer:
            made = finish(
                model_s1.import_model(
                    peer.ask, self.import_id, bytes(32), self.layout, mine, self.public, INLINE, s1
                )
            )
            peer.ask(pb.Round(commit=pb.Commit()))
        return made, kept[0]


def finish(work: Generator[object, None, Result]) -> Result:
    """A generator's result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("Result", end.value)


def _between(script: Callable[[pb.Round], Script], s1: Observer, s2: Observer) -> ObservedPeer:
    return ObservedPeer(MemoryPeer(ObservedConversation(Scripted(script), s2), _LIMITS), s1)
