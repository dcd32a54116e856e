"""One query, S1's side: the skeleton around an engine.

ahead:  S1 -> S2  open, base OT reply, sums made ahead      S2 -> S1  base OT, IKNP matrix
        S1        garbles every circuit
then:   S1 -> S2  bind to the user's query
        S2 -> S1  E(M^-1)
        S1 -> S2  E(P + s), P = M^-1 * A                     S2 -> S1  corrections
        S1 -> S2  import circuit                             S2 -> S1  E(shares of the picture)
        engine    SCVL, SACT, SMAP stage by stage; SCT
        user      <- S1's masks, <- S2's masked vector       (or, label only: index xor m, m)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import gmpy2
from gmpy2 import mpz

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import POWER_N2
from twinveil.errors import OutOfOrder
from twinveil.garbling.base_ot import BaseReceiver, random_choices
from twinveil.garbling.bits import bits_to_integers, to_bits
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.protocol.circuits import label_bits
from twinveil.protocol.engine import EngineS1, Exchange
from twinveil.protocol.garbled import GarblerSide
from twinveil.protocol.meter import Meter
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines import QueryPlan
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.wide import random_bits
from twinveil.ring import Words, uniform
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress


@dataclass(frozen=True)
class Tools:
    """What a query needs of its cloud."""

    key: PublicKey
    workers: Workers
    params: Params


class QueryS1(SingleUse):
    """Single use. prepare() may run long before classify()."""

    def __init__(
        self,
        peer: CountedPeer,
        opening: pb.OpenQuery,
        planned: QueryPlan,
        engine: EngineS1,
        tools: Tools,
        meter: Meter,
        observer: Observer = NOBODY,
    ) -> None:
        self._peer = peer
        self._opening = opening
        self._planned = planned
        self._engine = engine
        self._tools = tools
        self.meter = meter
        self._observer = observer
        self._begun = False
        self._exchange: Exchange | None = None

    @property
    def prepared(self) -> bool:
        return self._exchange is not None

    def prepare(self) -> None:
        """Everything that does not depend on the picture."""
        if self._begun:
            raise OutOfOrder("a query is prepared once")
        self._begun = True
        with self.meter.function("ahead"):
            session = self._opening.session_id
            opened = expect(self._peer.ask(pb.Round(open_query=self._opening)), "query_opened").query_opened
            choices = random_choices()
            base = BaseReceiver(session, opened.base_ot, choices)
            sent = pb.Prepare(base_ot=base.reply, masked_sums=self._engine.prepare())
            prepared = expect(self._peer.ask(pb.Round(prepare=sent)), "prepared").prepared
        with self.meter.function("garbling"):
            ot = ExtensionSender(base.keys, choices, session)
            ot.accept(prepared.extension, sum(step.choices for step in self._planned.steps))
            garblers = [GarblerSide(step) for step in self._planned.steps]
            self._exchange = Exchange(self._peer.ask, ot, iter(garblers))

    def classify(self, head: QueryHead, half: Sequence[mpz]) -> Generator[Progress, None, bytes]:
        """Yields progress, returns S1's half of the answer. half: A of every plaintext, checked."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise OutOfOrder("a prepared query serves once")
        self._observer.half(IMAGE, half)
        stages = self._planned.layout.schedule.stages
        yield Progress(label="picture")
        with self.meter.function("import"):
            self._import_picture(exchange, head, half)
        for stage in stages[1:-1]:
            yield from self._engine.scvl(exchange, stage)
            yield from self._engine.sact_smap(exchange, stage)
        reply, masks = yield from self._engine.sct(exchange, stages[-1])
        with self.meter.function("label"):
            return self._answer(exchange, head.label_only, reply, masks)

    def _import_picture(self, exchange: Exchange, head: QueryHead, half: Sequence[mpz]) -> None:
        key, picture = self._tools.key, self._planned.picture
        bind = pb.Bind(query_id=head.query_id, binding=head.binding(), label_only=head.label_only)
        bound = expect(exchange.ask(pb.Round(bind=bind)), "import_factors").import_factors
        tally = self.meter.tally
        factors = key.parse(bound.factors, picture.plaintexts, tally)
        mask = random_bits(picture.plaintext_mask_bits(self._planned.params.sigma), picture.plaintexts)
        opened = [gmpy2.powmod(c, a, key.n_squared) for c, a in zip(factors, half, strict=True)]
        tally.add(POWER_N2, len(opened))
        masked = key.add_plain(opened, bits_to_integers(mask), tally)
        fresh = Rerandomiser(key, tally).freshen(masked, workers=self._tools.workers)
        sent = pb.MaskedPlaintexts(ciphertexts=fresh.to_bytes())
        corrections = expect(exchange.ask(pb.Round(masked_plaintexts=sent)), "corrections").corrections
        inputs = {f"s.{IMAGE}": mask[: picture.packed_bits], **self._engine.picture_masks()}
        made = expect(exchange.ask(exchange.garbled(inputs, corrections.bits)), "encrypted_shares")
        self._engine.accept(made.encrypted_shares)

    def _answer(self, exchange: Exchange, label_only: bool, reply: pb.Round, masks: Words) -> bytes:
        if not label_only:
            expect(reply, "answered")
            return answer_half(masks)
        dense = self._planned.plan.output
        flip = uniform((1, self._planned.pictures), label_bits(dense.out_features))
        inputs = {
            "s.scores": to_bits(masks, dense.accumulator_bits),
            "mask.label": to_bits(flip[0], label_bits(dense.out_features)),
        }
        corrections = expect(reply, "corrections").corrections
        expect(exchange.ask(exchange.garbled(inputs, corrections.bits)), "answered")
        return answer_half(flip)
