"""The textbook engine's views from leakage alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
from gmpy2 import mpz

from tests.views.exchanges import (
    Bare,
    Ciphertexts,
    Circuit,
    Corrections,
    Exchange,
    Masked,
    Operands,
    TextbookQuery,
    import_of,
    picture_mask,
)
from tests.views.simulator import Simulator, random_words, transfers
from twinveil.crypto.slots import draw
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.circuit import flatten
from twinveil.garbling.evaluator import evaluate
from twinveil.garbling.ot_extension import ExtensionSender, prepare_bytes
from twinveil.halves.model import Halves
from twinveil.parallel import INLINE
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.query.s1 import query_s1
from twinveil.protocol.textbook.query.s2 import query_s2
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.textbook.wide import random_bits
from twinveil.rehearsal.clouds import finish
from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, Script
from twinveil.rpc import rounds_pb2 as pb


class TextbookSimulator(Simulator):
    """Both views are made of the exchanges: a request is what S2 is shown, a reply what S1 is shown."""

    engine = "textbook"

    def query_at_s1(self, observer: Observer) -> None:
        assert self.s1.textbook is not None
        peer = self.at_s1(self._query_replies, observer)
        own = (self.s1.textbook, self.head(), self.units(self._layout.picture.plaintexts), self.public)
        finish(query_s1(peer.ask, *own, self.params, Meter(), observer=observer))
        peer.close()

    def query_at_s2(self, observer: Observer) -> None:
        head = self.head()
        claim = self.claiming(head, self.units(self._layout.picture.plaintexts))

        def script(opening: pb.Round) -> Script:
            own = (self.layouts.textbook, self.secret, INLINE, claim, False, Meter())
            return query_s2(opening.open_query, *own, observer=observer)

        peer = self.at_s2(script, observer)
        opening = pb.OpenQuery(
            protocol_version=ROUNDS_VERSION,
            session_id=secrets.token_bytes(16),
            import_id=head.import_id,
            layout=self.layouts.textbook.digest,
        )
        opened = peer.ask(pb.Round(open_query=opening)).query_opened
        base, ot = transfers(opening.session_id, opened.base_ot)
        prepared = peer.ask(pb.Round(prepare=pb.Prepare(base_ot=base))).prepared
        ot.accept(prepared.extension, self._choices)
        peer.ask(pb.Round(bind=head.bind()))
        self._ask_all(peer, self._query(), ot)
        peer.close()

    def halves(self) -> Halves:
        pairs = {node.name: self.layouts.textbook.segments(node) for node in self.plan.linear_nodes}
        return Halves(
            textbook={
                name: (self.units(weights.plaintexts), self.units(biases.plaintexts))
                for name, (weights, biases) in pairs.items()
            }
        )

    def import_replies(self, opening: pb.Round) -> Script:
        pairs = [self.layouts.textbook.segments(node) for node in self.plan.linear_nodes]
        yield _message(
            "import_opened",
            factors=self.for_s1(sum(weights.plaintexts for weights, _ in pairs)),
            differences=self.for_s1(sum(biases.plaintexts for _, biases in pairs)),
            base_ot=BaseSender(opening.open_import.session_id).first(),
        )
        for exchange in import_of(self.layouts.textbook):
            yield self._reply(exchange)
        yield pb.Round(done=pb.Done())

    def ask_import(self, peer: Peer, opening: pb.OpenImport) -> None:
        opening.layout = self.layouts.textbook.digest
        opened = peer.ask(pb.Round(open_import=opening)).import_opened
        base, ot = transfers(opening.session_id, opened.base_ot)
        self._ask_all(peer, import_of(self.layouts.textbook), ot, base)

    @property
    def _layout(self) -> TextbookLayout:
        return TextbookLayout(self.plan, self.params, limit=None)

    @property
    def _choices(self) -> int:
        return sum(step.choices for step in self._layout.steps())

    def _query(self) -> Iterator[Exchange]:
        picture = picture_mask(self._layout.picture, self.params)
        return TextbookQuery(self._layout, picture, self.label_only).exchanges()

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
                left, right = (self.for_s2([mpz(each) for each in side]) for side in sides)
                return _message("smp_operands", left=left, right=right)
            case Circuit() as circuit:
                return pb.Round(garbled_batch=simulated(circuit, ot, corrections))
            case Bare(body=body):
                return _message(body)

    def _query_replies(self, opening: pb.Round) -> Script:
        """S2's side of a query."""
        yield _message("query_opened", base_ot=BaseSender(opening.open_query.session_id).first())
        yield _message("prepared", extension=secrets.token_bytes(prepare_bytes(self._choices)))
        yield _message("import_factors", factors=self.for_s1(self._layout.picture.plaintexts))
        for exchange in self._query():
            yield self._reply(exchange)

    def _reply(self, exchange: Exchange) -> pb.Round:
        match exchange.reply:
            case Corrections(step=step, extension=extension):
                made = secrets.token_bytes(prepare_bytes(step.choices)) if extension else b""
                return _message("corrections", bits=random_words(step.choices, 1), extension=made)
            case Ciphertexts(body=body, field=field, count=count):
                return _message(body, **{field: self.for_s1(count)})
            case Bare(body=body):
                return _message(body)

    def _masked(self, masked: Masked) -> bytes:
        drawn: list[mpz] = []
        for count, mask in masked.masks:
            drawn += [mask.offset + each for each in draw(count, mask.bits)]
        return self.for_s2(drawn)


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


def _message(body: str, **fields: Any) -> pb.Round:
    made = pb.Round()
    part = getattr(made, body)
    part.SetInParent()
    for name, value in fields.items():
        setattr(part, name, value)
    return made
