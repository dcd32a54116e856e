"""The textbook engine's cost, step by step as in protocol/textbook: SMP by SMP."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinveil.crypto.nonces import Rerandomiser, encrypt_counts, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import INVERSE_N2, MODMUL_N, MODMUL_N2, MUL_N, POWER_N2, Tally
from twinveil.estimate.cost import Cost, Costs, corrections, function, garbled_batch
from twinveil.estimate.wire import round_bytes
from twinveil.protocol.garbled import Step
from twinveil.protocol.meter import nonlinear
from twinveil.protocol.shares import windows
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, pool_windows
from twinveil.schedule import LinearStep, PoolStep, ReluStep, Stage


def smp_s1(count: int) -> Tally:
    """S1's operations of one message of SMP: algorithm 1, lines 1 and 3."""
    tally = Tally(PublicKey.add_plain_counts(2 * count))
    tally += Rerandomiser.freshen_fully_counts(2 * count)
    tally += PublicKey.check_counts(count)
    tally += {POWER_N2: 2 * count, MODMUL_N2: 3 * count, MODMUL_N: count, MUL_N: count}
    return tally


def smp_s2(count: int, key_bits: int) -> Tally:
    """S2's operations of one message of SMP: algorithm 1, line 2."""
    tally = Tally(SecretKey.decrypt_counts(2 * count))
    tally += PublicKey.check_counts(count)
    tally += PublicKey.check_counts(count)
    tally.add(MODMUL_N, count)
    tally += _encrypt(count, key_bits)
    return tally


def _encrypt(count: int, key_bits: int) -> Tally:
    tally = Tally(nonce_counts(key_bits, "short", count))
    tally += encrypt_counts(count)
    return tally


class TextbookCost:
    """Mirrors TextbookS1 and TextbookS2."""

    def __init__(self, layout: TextbookLayout) -> None:
        self._layout = layout
        self._key_bits = layout.params.key_bits
        self._ciphertext = 2 * self._key_bits // 8
        self._steps: Iterator[Step] = iter(())

    def prepare(self, costs: Costs) -> int:
        function(costs, "ahead").s2 += PublicKey.check_counts(0)
        return 0

    def accept(self, costs: Costs) -> int:
        """The picture's pixels, one ciphertext each."""
        return self._unmasked(function(costs, "import"), self._layout.picture.count)

    def scvl(self, costs: Costs, steps: Iterator[Step], stage: Stage) -> None:
        self._steps = steps
        cost = function(costs, "SCVL")
        self._first_pools(cost, stage)
        for step in stage.linear:
            self._linear(cost, step)

    def sact_smap(self, costs: Costs, stage: Stage) -> None:
        cost = function(costs, nonlinear(stage))
        for relu in stage.relus:
            self._sact(cost, relu)
        for pool in stage.pools:
            self._smap(cost, pool)

    def sct(self, costs: Costs, steps: Iterator[Step], stage: Stage, reply: int) -> None:
        self._steps = steps
        cost = function(costs, "SCT")
        self._first_pools(cost, stage)
        (step,) = stage.linear
        self._linear(cost, step)
        self._masked(cost, self._layout.plan.output.out_features, reply)

    def _first_pools(self, cost: Cost, stage: Stage) -> None:
        if stage.index == 1:
            for pool in self._layout.schedule.stages[0].pools:
                self._smap(cost, pool)

    def _linear(self, cost: Cost, step: LinearStep) -> None:
        plan = self._layout.plan
        shape = plan.shapes[step.node.source]
        real = windows(np.ones((shape[0], 1, *shape[1:]), np.uint64), step.node)
        products = int(real.sum()) * plan.shapes[step.node.name][0]
        self._smp(cost, products)
        cost.s1.add(MODMUL_N2, products)  # every product is added to its output's bias

    def _smp(self, cost: Cost, products: int) -> None:
        cost.products += products
        full, rest = divmod(products, BATCH)
        for size, times in ((BATCH, full), (rest, 1 if rest else 0)):
            for _ in range(times):
                side = size * self._ciphertext
                operands = round_bytes("smp_operands", left=side, right=side)
                cost.ask(operands, round_bytes("smp_products", products=side))
            for tally, counts in ((cost.s1, smp_s1(size)), (cost.s2, smp_s2(size, self._key_bits))):
                tally += {kind: times * count for kind, count in counts.as_dict().items()} if times else {}

    def _masked(self, cost: Cost, count: int, reply: int) -> None:
        cost.s1 += PublicKey.add_plain_counts(count)
        cost.s1 += Rerandomiser.freshen_fully_counts(count)
        cost.s2 += PublicKey.check_counts(count)
        cost.s2 += SecretKey.decrypt_counts(count)
        cost.ask(round_bytes("masked_sums", ciphertexts=count * self._ciphertext), reply)

    def _record(self, cost: Cost, count: int) -> None:
        """Masked values, circuit, E(record xor m), flipped."""
        step = next(self._steps)
        self._masked(cost, count, corrections(step))
        cost.evaluate(step)
        cost.ask(garbled_batch(step), round_bytes("record_bits", ciphertexts=count * self._ciphertext))
        cost.s2 += _encrypt(count, self._key_bits)
        cost.s1 += PublicKey.check_counts(count)
        cost.s1 += {INVERSE_N2: count, MODMUL_N2: count}

    def _unmasked(self, cost: Cost, count: int) -> int:
        """Values of a circuit, encrypted by S2; S1 takes its mask off. Returns the bytes of S2's message."""
        cost.s2 += _encrypt(count, self._key_bits)
        cost.s1 += PublicKey.check_counts(count)
        cost.s1 += PublicKey.add_plain_counts(count)
        return round_bytes("encrypted_shares", ciphertexts=count * self._ciphertext)

    def _sact(self, cost: Cost, relu: ReluStep) -> None:
        count = int(np.prod(self._layout.plan.shapes[relu.source]))
        self._record(cost, count)
        self._smp(cost, count)
        step = next(self._steps)
        self._masked(cost, count, corrections(step))
        cost.evaluate(step)
        cost.ask(garbled_batch(step), self._unmasked(cost, count))

    def _smap(self, cost: Cost, pool: PoolStep) -> None:
        for members in pool_windows(pool, self._layout.schedule.pieces[pool.source].shape):
            window, count = members.shape
            if window > 1:
                self._record(cost, window * count)
                self._smp(cost, window * count)
                cost.s1.add(MODMUL_N2, (window - 1) * count)
