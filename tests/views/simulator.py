"""Makes each cloud's view of an import, an item or a query from leakage alone: plan, public key, counts.

It knows no picture, no weight, no class. For S2 it stands in for S1: encryptions of uniform masks, uniform
bits. For S1 it stands in for S2: encryptions of zero, uniform bits. Each cloud's own code runs on that, with
its own randomness, and the usual observer writes down what it saw; a client's half is uniform.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key
from twinveil.crypto.nonces import Encryptor, Rerandomiser
from twinveil.crypto.tally import Tally
from twinveil.garbling.base_ot import BaseReceiver, random_choices
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.halves.model import Halves
from twinveil.network.plan import Plan
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.binding import Claim, Claiming, QueryHead
from twinveil.protocol.model import s1 as model_s1
from twinveil.protocol.model import s2 as model_s2
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed.powers import Machine
from twinveil.rehearsal.clouds import finish
from twinveil.ring import pack_words, uniform
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, Script, Scripted
from twinveil.rpc import rounds_pb2 as pb


class Simulator(ABC):
    """Views of one engine's conversations. Its own model comes from its own import."""

    engine: str

    def __init__(self, plan: Plan, key_bits: int, label_only: bool = False) -> None:
        self.plan, self.params = plan, Params(key_bits, insecure_small_key=True)
        self.label_only = label_only
        self.secret = secret_key(key_bits)
        self.public = self.secret.public_key
        self.machine = Machine(self.public, INLINE)
        self.layouts = Layouts(plan, self.params, (self.engine,))
        self._encryptor = Encryptor(self.public, Tally())
        self._rerandomiser = Rerandomiser(self.public, Tally())
        self.s1, self.s2 = self.import_at_s1(NOBODY), self.import_at_s2(NOBODY)

    def import_at_s1(self, observer: Observer) -> model_s1.ModelS1:
        """S1's code against replies made of nothing."""
        peer = self.at_s1(self.import_replies, observer)
        own = (secrets.token_bytes(16), secrets.token_bytes(32), self.layouts, self.halves(), self.machine)
        model = finish(model_s1.import_model(peer.ask, *own, observer))
        peer.ask(pb.Round(commit=pb.Commit()))
        peer.close()
        return model

    def import_at_s2(self, observer: Observer) -> model_s2.ModelS2:
        """S2's code on requests made of nothing."""
        kept: list[model_s2.ModelS2] = []

        def script(opening: pb.Round) -> Script:
            own = (self.layouts, self.halves(), self.secret, INLINE, observer)
            kept.append((yield from model_s2.import_model(opening.open_import, *own)))
            yield pb.Round(done=pb.Done())

        peer = self.at_s2(script, observer)
        opening = pb.OpenImport(
            protocol_version=ROUNDS_VERSION,
            session_id=secrets.token_bytes(16),
            import_id=secrets.token_bytes(16),
            binding=secrets.token_bytes(32),
            engine=self.engine,
        )
        self.ask_import(peer, opening)
        peer.ask(pb.Round(commit=pb.Commit()))
        peer.close()
        return kept[0]

    @abstractmethod
    def query_at_s1(self, observer: Observer) -> None:
        """S1's code on one picture, which is uniform."""

    @abstractmethod
    def query_at_s2(self, observer: Observer) -> None: ...

    @abstractmethod
    def halves(self) -> Halves:
        """A client's of a model."""

    @abstractmethod
    def import_replies(self, opening: pb.Round) -> Script:
        """S2's side of an import."""

    @abstractmethod
    def ask_import(self, peer: Peer, opening: pb.OpenImport) -> None:
        """S1's side of an import, but for the commit."""

    def at_s1(self, script: Any, observer: Observer) -> ObservedPeer:
        return ObservedPeer(MemoryPeer(Scripted(script)), observer)

    def at_s2(self, script: Any, observer: Observer) -> MemoryPeer:
        return MemoryPeer(ObservedConversation(Scripted(script), observer))

    def head(self) -> QueryHead:
        query_id = secrets.token_bytes(16)
        return QueryHead(query_id, "user", bytes(16), self.plan.hash, self.engine, self.label_only, 1)

    def claiming(self, head: QueryHead, half: Sequence[Any]) -> Claiming[Any]:
        """How S2 finds the query that has a user's half."""
        return lambda *_: Claim(head, half, lambda answer: None)

    def units(self, count: int) -> list[mpz]:
        """A client's numbers modulo N."""
        n = int(self.public.n)
        return [mpz(1 + secrets.randbelow(n - 1)) for _ in range(count)]

    def for_s1(self, count: int) -> bytes:
        """Encryptions of zero."""
        return self._encryptor.encrypt([0] * count).to_bytes()

    def for_s2(self, plaintexts: Sequence[mpz]) -> bytes:
        """Encryptions of masks alone."""
        return self._rerandomiser.freshen([self.public.raw(m) for m in plaintexts]).to_bytes()


def random_words(count: int, bits: int) -> bytes:
    """Packed, the last byte filled up with zeros."""
    return pack_words(uniform((count,), bits), bits)


def transfers(session: bytes, point: bytes) -> tuple[bytes, ExtensionSender]:
    """The reply to base transfers, and the sender's side of the extension."""
    choices = random_choices()
    base = BaseReceiver(session, point, choices)
    return base.reply, ExtensionSender(base.keys, choices, session)
