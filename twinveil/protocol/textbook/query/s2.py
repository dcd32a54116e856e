"""One query of one picture, S2's side: the skeleton around the published functions (drawn in s1.py).

S2 acts on the steps of the query's plan, in order, once. It sees M^-1 (uniform), and plaintexts under S1's
masks; what it hands to the user is the masked class vector or the masked index, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.base_ot import BaseSender
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE
from twinveil.parallel import Workers
from twinveil.protocol.binding import Claim, Claiming, QueryHead, refuse_another_layout
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.exchange import Circuits
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.textbook.wide import low_bits
from twinveil.ring import Words
from twinveil.rounds.observer import NOBODY, Masking, Observer, Topic
from twinveil.rounds.scripted import Script, check_opening, expect
from twinveil.rpc import rounds_pb2 as pb

Picture = Sequence[mpz]
"""M^-1 of every plaintext."""


def query_s2(
    opening: pb.OpenQuery,
    model: ImportLayout,
    key: SecretKey,
    workers: Workers,
    claim: Claiming[Picture],
    label_only: bool,
    meter: Meter,
    watch: Callable[[TextbookS2], None] = lambda engine: None,
    observer: Observer = NOBODY,
) -> Script:
    """The conversation after `opening`. label_only: the owner's policy."""
    check_opening(opening)
    refuse_another_layout(opening.layout, model.digest)
    layout = TextbookLayout(model.plan, model.params)
    engine = TextbookS2(layout, key, workers, meter, observer)
    watch(engine)
    observer.about(Topic("query", layout.plan, "textbook", 1, key.public_key.n, layout.params.sigma))
    steps = layout.steps()
    with meter.function("garbling"):
        base = BaseSender(opening.session_id)
    request = yield pb.Round(query_opened=pb.QueryOpened(base_ot=base.first()))

    prepare = expect(request, "prepare").prepare
    with meter.function("garbling"):
        ot = ExtensionReceiver(base.keys(prepare.base_ot), opening.session_id)
        extension = ot.prepare(sum(step.choices for step in steps))
    request = yield pb.Round(prepared=pb.Prepared(extension=extension))

    bind = expect(request, "bind").bind

    def check(head: QueryHead) -> None:
        head.check(bind, opening.import_id, "textbook", 1, label_only)

    claimed = claim(bind.query_id, check)
    observer.half(IMAGE, claimed.half)
    circuits = Circuits(iter(steps), ot, observer)
    picture = layout.picture
    with meter.function("import"):
        factors = key.encrypt(claimed.half, workers=workers).to_bytes()
    request = yield pb.Round(import_factors=pb.ImportFactors(factors=factors))
    masked = expect(request, "masked_plaintexts").masked_plaintexts.ciphertexts
    with meter.function("import"):
        plaintexts = key.decrypt(key.public_key.parse(masked, picture.plaintexts, key.tally), workers=workers)
        observer.decrypted(IMAGE, plaintexts, Masking(picture.plaintext_mask_bits(layout.params.sigma)))
        evaluator = circuits.next()
        bits = evaluator.choose({f"z.{IMAGE}": low_bits(plaintexts, picture.packed_bits)})
    request = yield pb.Round(corrections=pb.Corrections(bits=bits))
    with meter.function("import"):
        values = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)
    request = yield pb.Round(encrypted_shares=engine.accept(values))

    stages = layout.schedule.stages
    for stage in stages[1:-1]:
        request = yield from engine.stage(circuits, stage, request)
    scores = yield from engine.sct(circuits, stages[-1], request)
    yield from _answer(layout, circuits, claimed, scores, observer)


def _answer(
    layout: TextbookLayout, circuits: Circuits, claimed: Claim[Picture], scores: Words, observer: Observer
) -> Generator[pb.Round, pb.Round, None]:
    bits = layout.plan.output.accumulator_bits
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
