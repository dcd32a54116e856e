"""One query, S2's side: the skeleton around an engine (drawn in s1.py).

S2 acts on the steps of the query's plan, in order, once. It sees M^-1 (uniform), and plaintexts under S1's
masks; what it hands to the user is the masked class vector or the masked index, nothing else.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import NotAllowed, PeerMismatch
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE, Plan
from twinveil.parallel import Workers
from twinveil.protocol.engine import Circuits, EngineS2
from twinveil.protocol.meter import Meter
from twinveil.protocol.query.binding import QueryHead
from twinveil.protocol.query.engines import QueryPlan
from twinveil.protocol.wide import low_bits
from twinveil.ring import Words
from twinveil.rounds.observer import NOBODY, Masking, Observer
from twinveil.rounds.scripted import Script, check_opening, expect
from twinveil.rpc import rounds_pb2 as pb


class Claim(Protocol):
    """A user's query as it lies at S2, taken by exactly one conversation."""

    @property
    def head(self) -> QueryHead: ...

    @property
    def half(self) -> Sequence[mpz]:
        """M^-1 of every plaintext, checked."""

    def deliver(self, answer: bytes) -> None:
        """S2's half of the answer, for the waiting user."""


Claiming = Callable[[bytes, Callable[[QueryHead], None]], Claim]


def query(
    opening: pb.OpenQuery,
    planned: QueryPlan,
    engine: EngineS2,
    key: SecretKey,
    workers: Workers,
    claim: Claiming,
    label_only: bool,
    meter: Meter,
    observer: Observer = NOBODY,
) -> Script:
    """The conversation after `opening`. claim(query id, check) waits for the user's half and takes it, unless
    check(head) raises: then the half stays for the conversation that it belongs to.

    label_only: the owner's policy; a query for the vector is then refused.
    """
    check_opening(opening)
    with meter.function("garbling"):
        base = BaseSender(opening.session_id)
    request = yield pb.Round(query_opened=pb.QueryOpened(base_ot=base.first()))

    prepare = expect(request, "prepare").prepare
    with meter.function("garbling"):
        ot = ExtensionReceiver(base.keys(prepare.base_ot), opening.session_id)
        extension = ot.prepare(sum(step.choices for step in planned.steps))
    with meter.function("ahead"):
        engine.prepare(prepare.masked_sums)
    request = yield pb.Round(prepared=pb.Prepared(extension=extension))

    bind = expect(request, "bind").bind

    def check(head: QueryHead) -> None:
        same = hmac.compare_digest(bind.binding, head.binding())
        if not same or bind.label_only != head.label_only:
            raise PeerMismatch("the user told the two clouds different things about this query")
        if not head.fits(opening.import_id, opening.engine, opening.pictures):
            raise PeerMismatch("this conversation was opened for another kind of query")
        if label_only and not head.label_only:
            raise NotAllowed("the owner allows only the label of this model: ask for the label only")

    claimed = claim(bind.query_id, check)
    observer.half(IMAGE, claimed.half)
    circuits = Circuits(iter(planned.steps), ot, observer)
    picture = planned.picture
    with meter.function("import"):
        factors = key.encrypt(claimed.half, workers=workers).to_bytes()
    request = yield pb.Round(import_factors=pb.ImportFactors(factors=factors))
    masked = expect(request, "masked_plaintexts").masked_plaintexts.ciphertexts
    with meter.function("import"):
        plaintexts = key.decrypt(key.public_key.parse(masked, picture.plaintexts, key.tally), workers=workers)
        hidden = Masking(picture.plaintext_mask_bits(planned.params.sigma))
        observer.decrypted(IMAGE, plaintexts, hidden)
        evaluator = circuits.next()
        bits = evaluator.choose({f"z.{IMAGE}": low_bits(plaintexts, picture.packed_bits)})
    request = yield pb.Round(corrections=pb.Corrections(bits=bits))
    with meter.function("import"):
        values = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)
    request = yield pb.Round(encrypted_shares=engine.accept(values))

    stages = planned.layout.schedule.stages
    for stage in stages[1:-1]:
        request = yield from engine.stage(circuits, stage, request)
    scores = yield from engine.sct(circuits, stages[-1], request)
    yield from _answer(planned.plan, circuits, claimed, scores, observer)


def _answer(
    plan: Plan, circuits: Circuits, claimed: Claim, scores: Words, observer: Observer
) -> Generator[pb.Round, pb.Round, None]:
    bits = plan.output.accumulator_bits
    if not claimed.head.label_only:
        observer.answered(scores, bits)
        claimed.deliver(answer_half(scores))
        yield pb.Round(answered=pb.Answered())
        return
    evaluator = circuits.next()
    corrections = evaluator.choose({"z.scores": to_bits(scores, bits)})
    request = yield pb.Round(corrections=pb.Corrections(bits=corrections))
    masked = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)["label"]
    index = from_bits(masked)[None]
    observer.answered(index, len(masked))
    claimed.deliver(answer_half(index))
    yield pb.Round(answered=pb.Answered())
