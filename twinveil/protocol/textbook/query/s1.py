"""One query of one picture, S1's side: the skeleton around the published functions.

ahead:  S1 -> S2  open, base OT reply                        S2 -> S1  base OT, IKNP matrix
        S1        garbles every circuit
then:   S1 -> S2  bind to the user's query
        S2 -> S1  E(M^-1)
        S1 -> S2  E(P + s), P = M^-1 * A                     S2 -> S1  corrections
        S1 -> S2  import circuit                             S2 -> S1  E(pixels + R)
        engine    SCVL, SACT, SMAP stage by stage; SCT
        user      <- S1's masks, <- S2's masked vector       (or, label only: index xor m, m)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence

import gmpy2
from gmpy2 import mpz

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import POWER_N2
from twinveil.garbling.base_ot import BaseReceiver, random_choices
from twinveil.garbling.bits import bits_to_integers, to_bits
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.halves.answers import answer_half
from twinveil.network.plan import IMAGE
from twinveil.params import Params
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.circuits import label_bits
from twinveil.protocol.textbook.exchange import Exchange
from twinveil.protocol.textbook.garbled import GarblerSide
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.textbook.wide import random_bits
from twinveil.ring import Words, uniform
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES, expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress


def query_s1(
    ask: Ask,
    model: ModelS1,
    head: QueryHead,
    half: Sequence[mpz],
    key: PublicKey,
    params: Params,
    meter: Meter,
    watch: Callable[[TextbookS1], None] = lambda engine: None,
    observer: Observer = NOBODY,
) -> Generator[Progress, None, bytes]:
    """Yields progress, returns S1's half of the answer. half: A of every plaintext, checked.

    watch sees the engine (tests look at its tensors). Raises BadPlan for a plan that is too large for it.
    """
    layout = TextbookLayout(model.layout.plan, params)
    engine = TextbookS1(model, layout, key, meter)
    watch(engine)
    observer.about(Topic("query", layout.plan, "textbook", 1, key.n, params.sigma))
    observer.half(IMAGE, half)
    exchange = _prepare(ask, model, head, layout, meter)
    stages = layout.schedule.stages
    yield Progress(label="picture")
    with meter.function("import"):
        engine.accept(_import_picture(exchange, engine, layout, head, half, key, meter))
    for stage in stages[1:-1]:
        yield from engine.scvl(exchange, stage)
        yield from engine.sact_smap(exchange, stage)
    reply, masks = yield from engine.sct(exchange, stages[-1])
    with meter.function("label"):
        return _answer(exchange, layout, head.label_only, reply, masks)


def _prepare(ask: Ask, model: ModelS1, head: QueryHead, layout: TextbookLayout, meter: Meter) -> Exchange:
    """Opens the conversation: oblivious transfers, and every circuit garbled."""
    steps = layout.steps()
    with meter.function("garbling"):
        session = secrets.token_bytes(SESSION_BYTES)
        opening = pb.OpenQuery(
            protocol_version=ROUNDS_VERSION,
            session_id=session,
            import_id=head.import_id,
            layout=model.layout.digest,
        )
        opened = expect(ask(pb.Round(open_query=opening)), "query_opened").query_opened
        choices = random_choices()
        base = BaseReceiver(session, opened.base_ot, choices)
        reply = ask(pb.Round(prepare=pb.Prepare(base_ot=base.reply)))
        ot = ExtensionSender(base.keys, choices, session)
        ot.accept(expect(reply, "prepared").prepared.extension, sum(step.choices for step in steps))
        garblers = [GarblerSide(step) for step in steps]
    return Exchange(ask, ot, iter(garblers))


def _import_picture(
    exchange: Exchange,
    engine: TextbookS1,
    layout: TextbookLayout,
    head: QueryHead,
    half: Sequence[mpz],
    key: PublicKey,
    meter: Meter,
) -> pb.EncryptedShares:
    picture, tally = layout.picture, meter.tally
    bound = expect(exchange.ask(pb.Round(bind=head.bind())), "import_factors").import_factors
    factors = key.parse(bound.factors, picture.plaintexts, tally)
    mask = random_bits(picture.plaintext_mask_bits(layout.params.sigma), picture.plaintexts)
    opened = [gmpy2.powmod(c, a, key.n_squared) for c, a in zip(factors, half, strict=True)]
    tally.add(POWER_N2, len(opened))
    masked = key.add_plain(opened, bits_to_integers(mask), tally)
    fresh = Rerandomiser(key, tally).freshen(masked)
    sent = pb.MaskedPlaintexts(ciphertexts=fresh.to_bytes())
    corrections = expect(exchange.ask(pb.Round(masked_plaintexts=sent)), "corrections").corrections
    inputs = {f"s.{IMAGE}": mask[: picture.packed_bits], **engine.picture_masks()}
    made = expect(exchange.ask(exchange.garbled(inputs, corrections.bits)), "encrypted_shares")
    return made.encrypted_shares


def _answer(
    exchange: Exchange, layout: TextbookLayout, label_only: bool, reply: pb.Round, masks: Words
) -> bytes:
    if not label_only:
        expect(reply, "answered")
        return answer_half(masks)
    dense = layout.plan.output
    flip = uniform((1, 1), label_bits(dense.out_features))
    inputs = {
        "s.scores": to_bits(masks, dense.accumulator_bits),
        "mask.label": to_bits(flip[0], label_bits(dense.out_features)),
    }
    corrections = expect(reply, "corrections").corrections
    expect(exchange.ask(exchange.garbled(inputs, corrections.bits)), "answered")
    return answer_half(flip)
