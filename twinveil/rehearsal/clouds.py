"""Both clouds in one process, the real protocol code of both sides, every view written down.

For experiments of a model's owner before anything is released: user, S1 and S2 are played with a key made
for the purpose. No role imports this; it runs as a process of its own (python -m twinveil.rehearsal).
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.crypto.keygen import generate
from twinveil.halves import answers, blinding
from twinveil.halves.model import blind_model, model_half
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.engine import EngineS1
from twinveil.protocol.meter import Meter
from twinveil.protocol.model import s1 as model_s1
from twinveil.protocol.model import s2 as model_s2
from twinveil.protocol.model.layout import ImportLayout
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.protocol.query.s1 import Tools
from twinveil.ring import Words
from twinveil.rounds.chunks import MessageLimits
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb
from twinveil.views.recorder import Recording
from twinveil.views.view import View

ENGINE = "packed"

_LIMITS = MessageLimits(message_bytes=1 << 30, conversation_bytes=1 << 32)
"""Nothing foreign arrives here; a model is as large as it is."""

Result = TypeVar("Result")


@dataclass
class _Claim:
    """The user's query as it lies at S2."""

    head: QueryHead
    half: Sequence[mpz]
    answer: bytes = b""

    def deliver(self, answer: bytes) -> None:
        self.answer = answer


@dataclass(frozen=True)
class Rehearsed:
    """One query: the class vector (classes,), what each cloud saw, and S1's own shares, by activation.

    The shares are no part of S1's view of the other side: S1 drew them. They take the masks off S2's.
    """

    vector: npt.NDArray[np.int64]
    s1: View
    s2: View
    s1_shares: Mapping[str, Words]


@dataclass
class Clouds:
    """A model at both clouds. key_bits below 2048 is for experiments like this one."""

    model: QuantisedModel
    key_bits: int
    import_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def __post_init__(self) -> None:
        self.params = Params(self.key_bits, insecure_small_key=self.key_bits < 2048)
        self.secret = generate(self.params)
        self.public = self.secret.public_key
        self._tools = Tools(self.public, INLINE, self.params)
        self.layout = ImportLayout(self.model.plan, self.params, (ENGINE,))
        self._s1, self._s2 = self._import()

    def classify(self, image: npt.NDArray[np.uint8]) -> Rehearsed:
        """One picture (channels, height, width) through the protocol."""
        plan, public = self.model.plan, self.public
        segment = blinding.picture_segment(plan, 1, key_bits=self.key_bits, sigma=self.params.sigma)
        s1_half, s2_half = blinding.blind_values(image.reshape(-1).astype(np.uint64), segment, public.n)
        head = QueryHead(secrets.token_bytes(16), "user", self.import_id, plan.hash, ENGINE, False, 1)
        claim = _Claim(head, blinding.decode(s2_half, segment, public.n))
        engines: list[EngineS1] = []
        s1, s2 = Recording("cloud_s1", _forget), Recording("cloud_s2", _forget)

        def script(opening: pb.Round) -> Script:
            return query_s2(
                opening.open_query,
                self._s2,
                self.secret,
                INLINE,
                self.params,
                lambda *_: claim,
                False,
                Meter(),
                observer=s2,
            )

        peer = ObservedPeer(MemoryPeer(ObservedConversation(Scripted(script), s2), _LIMITS), s1)
        query = query_s1(self._s1, self.import_id, ENGINE, self._tools, peer, 1, engines.append, s1)
        query.prepare()
        masks = _finish(query.classify(head, blinding.decode(s1_half, segment, public.n)))
        peer.close()
        (engine,) = engines
        if not isinstance(engine, PackedS1):
            raise TypeError("the packed engine runs here")
        vector = answers.class_vectors(masks, claim.answer, plan, 1)[0]
        return Rehearsed(vector, s1.view, s2.view, engine.shares)

    def _import(self) -> tuple[model_s1.ModelS1, model_s2.ModelS2]:
        plan, n = self.model.plan, self.public.n
        at_s1, at_s2 = blind_model(self.model, self.params, n)
        kept: list[model_s2.ModelS2] = []

        def script(opening: pb.Round) -> Script:
            model = yield from model_s2.import_model(
                opening.open_import, self.layout, model_half(plan, self.params, n, at_s2), self.secret, INLINE
            )
            kept.append(model)
            yield pb.Round(done=pb.Done())

        peer = MemoryPeer(Scripted(script), _LIMITS)
        half = model_half(plan, self.params, n, at_s1)
        made = _finish(
            model_s1.import_model(peer.ask, self.import_id, bytes(32), self.layout, half, self.public, INLINE)
        )
        peer.ask(pb.Round(commit=pb.Commit()))
        return made, kept[0]


def _forget(view: View) -> None:
    """Whoever asked for the query has the view already."""


def _finish(work: Generator[object, None, Result]) -> Result:
    """A generator's result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast("Result", end.value)
