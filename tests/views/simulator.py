"""Makes each cloud's view of an import or a query from leakage alone: the plan, the public key, counts.

It knows no picture, no weight, no class. For S2 it stands in for S1: encryptions of uniform masks, and
circuits that give a uniform output whatever goes in. For S1 it stands in for S2: encryptions of zero,
uniform bits. Each cloud's own code runs on that, with its own randomness, and the usual observer writes
down what it saw; a client's half is uniform.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key
from tests.views.exchanges import (
    Bare,
    Ciphertexts,
    Circuit,
    Corrections,
    Exchange,
    Masked,
    Operands,
    TextbookQuery,
    ahead_sums,
    import_of,
    packed_query,
    picture_mask,
)
from twinveil.crypto.nonces import Encryptor, Rerandomiser
from twinveil.crypto.packing import draw_masks
from twinveil.crypto.tally import Tally
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.circuit import flatten
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.ot_extension import ExtensionSender, correction_bytes, prepare_bytes
from twinveil.halves.blinding import picture_segment
from twinveil.halves.integers import Half
from twinveil.network.plan import Plan
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.model import s1 as model_s1
from twinveil.protocol.textbook.model import s2 as model_s2
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.steps import steps as packed_steps
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.protocol.textbook.query.s1 import Tools
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.textbook.wide import random_bits
from twinveil.rehearsal.clouds import Claimed, finish
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observed import ObservedConversation, ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, Script, Scripted
from twinveil.rpc import rounds_pb2 as pb


class Simulator:
    """Views of queries with one engine, and of imports for it. Its own models come from its own imports."""

    def __init__(self, plan: Plan, key_bits: int, engine: str = "packed", label_only: bool = False) -> None:
        self.plan, self.params = plan, Params(key_bits, insecure_small_key=True)
        self.engine, self.label_only = engine, label_only
        self.secret = secret_key(key_bits)
        self.public = self.secret.public_key
        self.encryptor = Encryptor(self.public, Tally())
        self.rerandomiser = Rerandomiser(self.public, Tally())
        self.picture = picture_segment(plan, 1, key_bits=key_bits, sigma=self.params.sigma)
        self.packed = PackedLayout(plan, key_bits, self.params.sigma)
        self.textbook = TextbookLayout(plan, self.params, limit=None)
        self.steps = packed_steps(self.packed) if engine == "packed" else self.textbook.steps()
        self.models = ImportLayout(plan, self.params, (engine,))
        self.s1, self.s2 = self.import_at_s1(NOBODY), self.import_at_s2(NOBODY)

    def import_at_s1(self, observer: Observer) -> model_s1.ModelS1:
        """S1's code against replies made of nothing."""
        import_id = secrets.token_bytes(16)
        peer = ObservedPeer(MemoryPeer(Scripted(self._import_replies)), observer)
        work = model_s1.import_model(
            peer.ask,
            import_id,
            secrets.token_bytes(32),
            self.models,
            self._halves(),
            self.public,
            INLINE,
            observer,
        )
        model = finish(work)
        peer.ask(pb.Round(commit=pb.Commit()))
        peer.close()
        return model

    def import_at_s2(self, observer: Observer) -> model_s2.ModelS2:
        """S2's code on requests made of nothing."""
        kept: list[model_s2.ModelS2] = []

        def script(opening: pb.Round) -> Script:
            own = (self.models, self._halves(), self.secret, INLINE, observer)
            kept.append((yield from model_s2.import_model(opening.open_import, *own)))
            yield pb.Round(done=pb.Done())

        peer = MemoryPeer(ObservedConversation(Scripted(script), observer))
        opening = pb.OpenImport(
            protocol_version=ROUNDS_VERSION,
            session_id=secrets.token_bytes(16),
            import_id=secrets.token_bytes(16),
            layout=self.models.digest,
            engines=self.models.engines,
            binding=secrets.token_bytes(32),
        )
        opened = peer.ask(pb.Round(open_import=opening)).import_opened
        base, ot = _transfers(opening.session_id, opened.base_ot)
        self._ask_all(peer, import_of(self.models), ot, base)
        peer.close()
        return kept[0]

    def query_at_s1(self, observer: Observer) -> None:
        tools = Tools(self.public, INLINE, self.params)
        peer = ObservedPeer(MemoryPeer(Scripted(self._query_replies)), observer)
        query = query_s1(self.s1, bytes(16), self.engine, tools, peer, observer=observer)
        query.prepare()
        finish(query.classify(self._head(), self._units(self.picture.plaintexts)))
        peer.close()

    def query_at_s2(self, observer: Observer) -> None:
        head = self._head()

        def script(opening: pb.Round) -> Script:
            own, claimed = (self.s2, self.secret, INLINE, self.params), self._claimed(head)
            return query_s2(opening.open_query, *own, lambda *_: claimed, False, Meter(), observer=observer)

        peer = MemoryPeer(ObservedConversation(Scripted(script), observer))
        opening = pb.OpenQuery(
            protocol_version=ROUNDS_VERSION,
            session_id=secrets.token_bytes(16),
            import_id=head.import_id,
            layout=self.models.digest,
            engine=self.engine,
            pictures=1,
        )
        opened = peer.ask(pb.Round(open_query=opening)).query_opened
        base, ot = _transfers(opening.session_id, opened.base_ot)
        layers = list(self.packed.layers.values()) if self.engine == "packed" else []
        ahead = self._masked(Masked("prepare", ahead_sums(layers)))
        prepared = peer.ask(pb.Round(prepare=pb.Prepare(base_ot=base, masked_sums=ahead))).prepared
        ot.accept(prepared.extension, sum(step.choices for step in self.steps))
        bind = pb.Bind(query_id=head.query_id, binding=head.binding(), label_only=self.label_only)
        peer.ask(pb.Round(bind=bind))
        self._ask_all(peer, self._query(), ot)
        peer.close()

    def _query(self) -> Iterator[Exchange]:
        picture = picture_mask(self.picture, self.params)
        if self.engine == "packed":
            return packed_query(self.packed, picture, self.steps, self.label_only)
        return TextbookQuery(self.textbook, picture, self.label_only).exchanges()

    def _ask_all(
        self, peer: Peer, exchanges: Iterator[Exchange], ot: ExtensionSender, base: bytes = b""
    ) -> None:
        """S1's side of a conversation. base: what its first message takes along."""
        corrections = b""
        for number, exchange in enumerate(exchanges):
            request = self._request(exchange, ot, corrections)
            if base and not number:
                request.masked_plaintexts.base_ot = base
            reply = peer.ask(request).corrections
            corrections = reply.bits
            if isinstance(exchange.reply, Corrections) and exchange.reply.extension:
                ot.accept(reply.extension, exchange.reply.step.choices)

    def _request(self, exchange: Exchange, ot: ExtensionSender, corrections: bytes) -> pb.Round:
        match exchange.request:
            case Masked(body=body) as masked:
                return _message(body, ciphertexts=self._masked(masked))
            case Operands(count=count):
                sides = [[secrets.randbelow(int(self.public.n)) for _ in range(count)] for _ in range(2)]
                left, right = (self._for_s2([mpz(each) for each in side]) for side in sides)
                return _message("smp_operands", left=left, right=right)
            case Circuit() as circuit:
                return pb.Round(garbled_batch=simulated(circuit, ot, corrections))
            case Bare(body=body):
                return _message(body)

    def _query_replies(self, opening: pb.Round) -> Script:
        """S2's side of a query."""
        yield _message("query_opened", base_ot=BaseSender(opening.open_query.session_id).first())
        transfers = prepare_bytes(sum(step.choices for step in self.steps))
        yield _message("prepared", extension=secrets.token_bytes(transfers))
        yield _message("import_factors", factors=self._zeros(self.picture.plaintexts))
        for exchange in self._query():
            yield self._reply(exchange)

    def _import_replies(self, opening: pb.Round) -> Script:
        """S2's side of an import."""
        pairs = [self.models.segments(node) for node in self.plan.linear_nodes]
        yield _message(
            "import_opened",
            factors=self._zeros(sum(weights.plaintexts for weights, _ in pairs)),
            differences=self._zeros(sum(biases.plaintexts for _, biases in pairs)),
            base_ot=BaseSender(opening.open_import.session_id).first(),
        )
        for exchange in import_of(self.models):
            yield self._reply(exchange)

    def _reply(self, exchange: Exchange) -> pb.Round:
        match exchange.reply:
            case Corrections(step=step, extension=extension):
                made = _random_bits(step.choices)
                assert len(made) == correction_bytes(step.choices)
                transfers = secrets.token_bytes(prepare_bytes(step.choices)) if extension else b""
                return _message("corrections", bits=made, extension=transfers)
            case Ciphertexts(body=body, field=field, count=count):
                return _message(body, **{field: self._zeros(count)})
            case Bare(body=body):
                return _message(body)

    def _head(self) -> QueryHead:
        query_id = secrets.token_bytes(16)
        return QueryHead(query_id, "user", bytes(16), self.plan.hash, self.engine, self.label_only, 1)

    def _claimed(self, head: QueryHead) -> Claimed:
        return Claimed(head, list(self._units(self.picture.plaintexts)))

    def _halves(self) -> Half:
        """A client's of a model: uniform units, and uniform numbers below N."""
        pairs = {node.name: self.models.segments(node) for node in self.plan.linear_nodes}
        return {
            name: (self._units(weights.plaintexts), self._units(biases.plaintexts))
            for name, (weights, biases) in pairs.items()
        }

    def _units(self, count: int) -> list[mpz]:
        n = int(self.public.n)
        return [mpz(1 + secrets.randbelow(n - 1)) for _ in range(count)]

    def _masked(self, masked: Masked) -> bytes:
        """Encryptions of masks alone."""
        drawn: list[mpz] = []
        for count, mask in masked.masks:
            width = mask.slot_bytes or (mask.bits + 8) // 8
            drawn += draw_masks(count, mask.slots, width, mask.bits, mask.offset)[0]
        return self._for_s2(drawn)

    def _for_s2(self, plaintexts: list[mpz]) -> bytes:
        return self.rerandomiser.freshen([self.public.raw(m) for m in plaintexts]).to_bytes()

    def _zeros(self, count: int) -> bytes:
        return self.encryptor.encrypt([0] * count).to_bytes()


def simulated(circuit: Circuit, ot: ExtensionSender, corrections: bytes) -> pb.GarbledBatch:
    """A garbled circuit from its output alone: every label uniform, one a wire; the decoding bits make the
    output what it is to be (Bellare, Hoang, Rogaway, CCS 2012, 4)."""
    step, counts = circuit.step, circuit.step.counts
    tables, own = (secrets.token_bytes(size) for size in (counts.table_bytes, counts.garbler_label_bytes))
    chosen = np.frombuffer(secrets.token_bytes(16 * step.choices), np.uint8).reshape(-1, 16)
    raw = evaluate(
        step.program,
        step.garbler,
        step.evaluator,
        tables=tables,
        garbler_labels=own,
        evaluator_labels=chosen,
        decode=bytes(counts.decode_bytes),
        counts=counts,
    )
    wanted = {
        name: random_bits(shape[0] - circuit.top, int(np.prod(shape[1:])), circuit.top).reshape(shape)
        for name, shape in counts.outputs
    }
    shapes = dict(counts.outputs)
    decode = np.packbits(flatten(shapes, raw) ^ flatten(shapes, wanted), bitorder="little")
    return pb.GarbledBatch(
        tables=tables,
        garbler_labels=own,
        masked_labels=ot.send(np.stack([chosen, chosen], axis=1), corrections),
        decode=decode.tobytes(),
    )


def _transfers(session: bytes, point: bytes) -> tuple[bytes, ExtensionSender]:
    """S1's reply to the base transfers, and its side of the extension."""
    choices = random_choices()
    base = BaseReceiver(session, point, choices)
    return base.reply, ExtensionSender(base.keys, choices, session)


def _message(body: str, **fields: bytes) -> pb.Round:
    made = pb.Round()
    part = getattr(made, body)
    part.SetInParent()
    for name, value in fields.items():
        setattr(part, name, value)
    return made


def _random_bits(count: int) -> bytes:
    """Packed, the last byte filled up with zeros."""
    bits = np.unpackbits(np.frombuffer(secrets.token_bytes((count + 7) // 8), np.uint8), count=count)
    return np.packbits(bits, bitorder="little").tobytes()
