"""The formulas of docs/cost.md, written out once more (page.py), give all that `estimate` counts."""

from __future__ import annotations

from collections import Counter
from math import ceil, prod

import numpy as np
import pytest

from owner.training.compile import default_plan
from tests.crypto.crypto_keys import toy
from tests.estimate import page
from tests.estimate.page import Counts, check, decrypt, encrypt, mask, nonces
from tests.networks import random_model, small_icnn_model
from tests.protocol.test_engines import small_random
from twinveil.crypto.multiexp_schedule import Buckets, Tables, choose
from twinveil.crypto.tally import (
    INVERSE_N,
    INVERSE_N2,
    MODMUL_N,
    MODMUL_N2,
    MODMUL_N2_HALF,
    MUL_N,
    POWER_N2,
    SQUARE_N2,
    Tally,
)
from twinveil.estimate.query import estimate
from twinveil.network.plan import IMAGE, Dense, Plan
from twinveil.network.schedule import schedule
from twinveil.protocol.query.engines import query_plan
from twinveil.protocol.shares import windows
from twinveil.protocol.textbook.steps import TextbookLayout, pool_windows
from twinveil.rpc import rounds_pb2 as pb

WIDE = Plan((1, 4, 4), 8, (Dense("dense", IMAGE, 20, 8, 22),), 0)
PLANS = [*(random_model(seed).plan for seed in range(4)), small_icnn_model(1).plan, WIDE]
SMALL_PLANS = [small_random(seed).plan for seed in range(4)]


def test_the_plans_meet_every_case() -> None:
    found = [layer for plan in PLANS for stage in page.layers(schedule(plan), 512, 2) for layer in stage]
    assert {layer.f > 1 for layer in found} == {layer.blocks > 1 for layer in found} == {True, False}
    assert {layer.g > 1 for layer in found} == {layer.chunks > 1 for layer in found} == {True, False}
    kinds = {type(choose(taps, layer.o, layer.length)) for layer in found for taps in layer.taps}
    assert kinds == {Buckets, Tables}


def tally(counts: Counts) -> Tally:
    return Tally(dict(counts))


@pytest.mark.parametrize(("bits", "pictures", "workers"), [(512, 1, 1), (1024, 3, 2), (768, 2, 3)])
@pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
def test_packed(plan: Plan, bits: int, pictures: int, workers: int) -> None:
    packed_agrees(plan, bits, pictures, workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_packed_default_network(workers: int) -> None:
    packed_agrees(default_plan(), 2048, 1, workers)


def packed_agrees(plan: Plan, bits: int, pictures: int, workers: int) -> None:
    costs = estimate(plan, toy(bits), pictures=pictures, workers=workers)
    stages = page.layers(schedule(plan), bits, pictures)
    layers = [layer for stage in stages for layer in stage]
    a, z, t = (sum(each) for each in zip(*[(x.a, x.z, sum(x.taps)) for x in layers], strict=True))

    made: Counts = Counter()
    for x in layers:
        made[MODMUL_N2_HALF] += x.a * x.length * (ceil(x.b / 8) - 1)
        made[SQUARE_N2] += x.a * (x.length - 1)
        made[MODMUL_N2] += x.a * (x.length + 1)
    made += nonces(a + z, bits + 64) + Counter({MODMUL_N2: 2 * a, MUL_N: a})
    assert costs["ahead"].s1 == tally(made)
    assert costs["ahead"].s2 == tally(nonces(t, 256) + decrypt(a))

    s1, s2 = imported(plan, bits, pictures)
    assert costs["import"].s1 == tally(s1)
    assert costs["import"].s2 == tally(s2)

    for name, mine in (("SCVL", stages[:-1]), ("SCT", stages[-1:])):
        at_s1: Counts = Counter()
        at_s2: Counts = Counter()
        for stage in mine:
            taps, sums = sum(sum(x.taps) for x in stage), sum(x.z for x in stage)
            at_s1 += check(taps) + page.online(stage, workers) + mask(sums) + Counter({MODMUL_N2: sums})
            for x in stage:
                at_s1 += page.fold(x)
            at_s2 += decrypt(sums) + encrypt(taps)
        if mine:
            assert (name, costs[name].s1) == (name, tally(at_s1))
            assert (name, costs[name].s2) == (name, tally(at_s2))
    for name in ("garbling", "SACT", "SACT+SMAP", "label"):
        if name in costs:
            assert costs[name].s1.total == costs[name].s2.total == 0


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
def test_packed_bytes_and_messages(plan: Plan, pictures: int) -> None:
    bits, width = 1024, 2 * 1024 // 8
    costs, planned = estimate(plan, toy(bits), pictures=pictures), schedule(plan)
    steps = query_plan(plan, toy(bits), "packed", pictures).steps
    stages = page.layers(planned, bits, pictures)
    linear = circuits = 0
    for index, stage in enumerate(stages):
        sums = pb.MaskedSums(ciphertexts=bytes(width * sum(x.z for x in stage)))
        linear += pb.Round(masked_sums=sums).ByteSize()
        if stage is stages[-1]:
            break
        e = sum(x.o * x.n * x.length for x in stage)
        outputs = [planned.pieces[name] for name in planned.stages[index + 1].outputs]
        y = sum(pictures * prod(piece.shape) * piece.share_bits for piece in outputs)
        taps = sum(sum(x.taps) for x in stages[index + 1])
        linear += pb.Round(corrections=pb.Corrections(bits=bytes(ceil(e / 8)))).ByteSize()
        circuits += garbled(steps[index + 1].counts.and_gates, g=e + y, e=e, y=y)
        shares = pb.EncryptedShares(ciphertexts=bytes(width * taps))
        circuits += pb.Round(encrypted_shares=shares).ByteSize()
    linear += pb.Round(answered=pb.Answered()).ByteSize()
    assert sum(costs[name].bytes for name in ("SCVL", "SCT") if name in costs) == linear
    assert sum(costs[name].bytes for name in ("SACT", "SACT+SMAP") if name in costs) == circuits
    assert sum(cost.messages for cost in costs.values()) == 4 + 6 + 4 * (len(stages) - 1) + 2
    # The answer to `prepare`: 16 bytes a transfer, transfers in eights.
    transfers = sum(step.choices for step in steps)
    extension = pb.Prepared(extension=bytes(16 * 8 * ceil(transfers / 8)))
    opened = pb.Round(query_opened=pb.QueryOpened(base_ot=bytes(32))).ByteSize()
    assert costs["ahead"].received == opened + pb.Round(prepared=extension).ByteSize()


def garbled(a: int, g: int, e: int, y: int) -> int:
    """Bytes of a circuit: tables, S1's labels, both of S2's, what decodes the outputs."""
    batch = pb.GarbledBatch(
        tables=bytes(32 * a + 16),
        garbler_labels=bytes(16 * g),
        masked_labels=bytes(32 * e),
        decode=bytes(ceil(y / 8)),
    )
    return pb.Round(garbled_batch=batch).ByteSize()


Pair = tuple[Counts, Counts]
"""Of S1 and of S2."""


def imported(plan: Plan, bits: int, pictures: int) -> Pair:
    p = ceil(pictures * prod(plan.image_shape) / ((bits - 60) // plan.image_bits))
    full = ceil((bits + 64) / 8)
    own = {POWER_N2: p, MODMUL_N2_HALF: p * full, MODMUL_N2: 3 * p, MUL_N: p, INVERSE_N: 1}
    return Counter(own), nonces(p, 256) + encrypt(p) + decrypt(p)


def together(*pairs: Pair) -> Pair:
    s1, s2 = Counter[str](), Counter[str]()
    for pair in pairs:
        s1, s2 = s1 + pair[0], s2 + pair[1]
    return s1, s2


def smp(products: int) -> Pair:
    s1, s2 = Counter[str](), Counter[str]()
    for c in [128] * (products // 128) + [products % 128] * bool(products % 128):
        own = {POWER_N2: 4 * c, MODMUL_N2: 7 * c, MODMUL_N: c, MUL_N: 3 * c, INVERSE_N: 2 * c}
        s1 += Counter(own) + check(c)
        # Two operands a product, read as two lists and decrypted as one batch.
        s2 += decrypt(2 * c) + Counter({INVERSE_N: 1, MODMUL_N: c}) + nonces(c, 256) + encrypt(c)
    return s1, s2


def masked(c: int) -> Pair:
    return Counter({POWER_N2: c, INVERSE_N: c, MODMUL_N2: c}) + mask(c), decrypt(c)


def record(c: int) -> Pair:
    return check(c) + Counter({INVERSE_N2: c, MODMUL_N2: c}), nonces(c, 256) + encrypt(c)


def unmasked(c: int) -> Pair:
    return check(c) + mask(c), nonces(c, 256) + encrypt(c)


def added(c: int) -> Pair:
    return Counter({MODMUL_N2: c}), Counter()


@pytest.mark.parametrize("plan", SMALL_PLANS, ids=range(len(SMALL_PLANS)))
def test_textbook(plan: Plan) -> None:
    bits, planned = 512, schedule(plan)
    costs = estimate(plan, toy(bits), "textbook")
    wanted: dict[str, Pair] = {}

    def book(name: str, *pairs: Pair) -> None:
        wanted[name] = together(wanted.get(name, (Counter(), Counter())), *pairs)

    def linear(name: str, index: int) -> None:
        for step in planned.stages[index].linear:
            shape = plan.shapes[step.node.source]
            real = windows(np.ones((shape[0], 1, *shape[1:]), np.uint64), step.node)
            c = int(real.sum()) * plan.shapes[step.node.name][0]
            book(name, smp(c), added(c))

    def smap(index: int) -> None:
        for pool in planned.stages[index].pools:
            for members in pool_windows(pool, planned.pieces[pool.source].shape):
                k, count = members.shape
                if k > 1:
                    book("SMAP", masked(k * count), record(k * count), smp(k * count), added((k - 1) * count))

    book("import", imported(plan, bits, 1), unmasked(prod(plan.image_shape)))
    last = len(planned.stages) - 1
    smap(0)
    for index in range(1, last):
        linear("SCVL", index)
        for relu in planned.stages[index].relus:
            c = prod(plan.shapes[relu.source])
            book("SACT", masked(c), record(c), smp(c), masked(c), unmasked(c))
        smap(index)
    linear("SCT", last)
    book("SCT", masked(plan.output.out_features))
    for name, (s1, s2) in wanted.items():
        assert (name, costs[name].s1) == (name, tally(s1))
        assert (name, costs[name].s2) == (name, tally(s2))
    assert {name for name, cost in costs.items() if cost.s1.total} == set(wanted)
    smps = TextbookLayout(plan, toy(bits), limit=None).smps
    assert {name: count for name, count in smps.items() if count} == {
        name: cost.products for name, cost in costs.items() if cost.products
    }


def test_textbook_bytes() -> None:
    """Three ciphertexts a product, in messages of 128."""
    plan, bits = random_model(0).plan, 2048
    cost, width = estimate(plan, toy(bits), "textbook")["SCT"], 2 * bits // 8
    sent = answered = 0
    for c in [128] * (cost.products // 128) + [cost.products % 128] * bool(cost.products % 128):
        operands = pb.SmpOperands(left=bytes(c * width), right=bytes(c * width))
        sent += pb.Round(smp_operands=operands).ByteSize()
        answered += pb.Round(smp_products=pb.SmpProducts(products=bytes(c * width))).ByteSize()
    scores = pb.MaskedSums(ciphertexts=bytes(width * plan.output.out_features))
    assert cost.sent == sent + pb.Round(masked_sums=scores).ByteSize()
    assert cost.received == answered + pb.Round(answered=pb.Answered()).ByteSize()
