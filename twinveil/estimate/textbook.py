"""The textbook engine's cost, step by step as in protocol/textbook: SMP by SMP."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import INVERSE_N2, MODMUL_N, MODMUL_N2, MUL_N, POWER_N2
from twinveil.estimate.cost import Cost, Costs, corrections, function, garbled_batch
from twinveil.estimate.wire import round_bytes
from twinveil.network.plan import Plan
from twinveil.network.schedule import LinearStep, PoolStep, ReluStep, Stage, schedule
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, layer_products, pool_windows


def smp(products: int, key_bits: int) -> Cost:
    """One message of SMP, algorithm 1: lines 1 and 3 at S1, none of it shared; line 2 at S2."""
    cost, side = Cost(products=products), products * 2 * key_bits // 8
    cost.ask(round_bytes("smp_operands", left=side, right=side), round_bytes("smp_products", products=side))
    cost.s1 += PublicKey.add_plain_counts(2 * products)
    cost.s1 += Rerandomiser.freshen_fully_counts(2 * products)
    cost.s1 += PublicKey.check_counts(products)
    cost.s1 += {POWER_N2: 2 * products, MODMUL_N2: 3 * products, MODMUL_N: products, MUL_N: products}
    cost.decrypt(products, products)
    cost.s2.add(MODMUL_N, products)
    cost.encrypt(key_bits, products)
    return cost


def live_numbers(plan: Plan) -> int:
    """Ciphertexts at S1 at the peak: every tensor, and all products of the largest SMP beside them.

    Of SACT and SMAP, for each product, the record as it came and flipped as well. S2 keeps none: it answers
    message by message.
    """
    planned = schedule(plan)
    stages = planned.stages
    layers = [step for stage in stages for step in stage.linear]
    tensors = sum(prod(piece.shape) for piece in planned.pieces.values())
    tensors += sum(prod(plan.shapes[step.node.name]) for step in layers)
    working = [layer_products(plan, step) for step in layers]
    working += [3 * prod(plan.shapes[relu.source]) for stage in stages for relu in stage.relus]
    for stage in stages:
        for pool in stage.pools:
            windows_of = pool_windows(pool, planned.pieces[pool.source].shape)
            working += [3 * members.size for members in windows_of if members.shape[0] > 1]
    return tensors + max(working)


class TextbookCost:
    """Mirrors TextbookS1 and TextbookS2."""

    def __init__(self, layout: TextbookLayout) -> None:
        self._layout = layout
        self._key_bits = layout.params.key_bits
        self._ciphertext = 2 * self._key_bits // 8
        self._steps: Iterator[GarbledStep] = iter(())

    def prepare(self, costs: Costs) -> int:
        function(costs, "ahead").s2 += PublicKey.check_counts(0)
        return 0

    def accept(self, costs: Costs) -> int:
        """The picture's pixels, one ciphertext each."""
        return self._unmasked(function(costs, "import"), self._layout.picture.count)

    def scvl(self, costs: Costs, steps: Iterator[GarbledStep], stage: Stage) -> None:
        self._steps = steps
        self._first_pools(costs, stage)
        cost = function(costs, "SCVL")
        for step in stage.linear:
            self._linear(cost, step)

    def sact_smap(self, costs: Costs, stage: Stage) -> None:
        cost = function(costs, "SACT")
        for relu in stage.relus:
            self._sact(cost, relu)
        self._smap(costs, stage)

    def sct(self, costs: Costs, steps: Iterator[GarbledStep], stage: Stage, reply: int) -> None:
        self._steps = steps
        self._first_pools(costs, stage)
        cost = function(costs, "SCT")
        (step,) = stage.linear
        self._linear(cost, step)
        self._masked(cost, self._layout.plan.output.out_features, reply)

    def _first_pools(self, costs: Costs, stage: Stage) -> None:
        if stage.index == 1:
            self._smap(costs, self._layout.schedule.stages[0])

    def _linear(self, cost: Cost, step: LinearStep) -> None:
        products = layer_products(self._layout.plan, step)
        self._smp(cost, products)
        cost.s1.add(MODMUL_N2, products)  # every product is added to its output's bias

    def _smp(self, cost: Cost, products: int) -> None:
        full, rest = divmod(products, BATCH)
        cost.include(smp(BATCH, self._key_bits), full)
        if rest:
            cost.include(smp(rest, self._key_bits))

    def _masked(self, cost: Cost, count: int, reply: int) -> None:
        cost.s1 += PublicKey.add_plain_counts(count)
        cost.s1 += Rerandomiser.freshen_fully_counts(count)
        cost.decrypt(count)
        cost.ask(round_bytes("masked_sums", ciphertexts=count * self._ciphertext), reply)

    def _record(self, cost: Cost, count: int) -> None:
        """Masked values, circuit, E(record xor m), flipped."""
        step = next(self._steps)
        self._masked(cost, count, corrections(step))
        cost.evaluate(step)
        cost.ask(garbled_batch(step), round_bytes("record_bits", ciphertexts=count * self._ciphertext))
        cost.encrypt(self._key_bits, count)
        cost.s1 += PublicKey.check_counts(count)
        cost.s1 += {INVERSE_N2: count, MODMUL_N2: count}

    def _unmasked(self, cost: Cost, count: int) -> int:
        """Values of a circuit, encrypted by S2; S1 takes its mask off. Returns the bytes of S2's message."""
        cost.encrypt(self._key_bits, count)
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

    def _smap(self, costs: Costs, stage: Stage) -> None:
        for pool in stage.pools:
            self._pool(function(costs, "SMAP"), pool)

    def _pool(self, cost: Cost, pool: PoolStep) -> None:
        for members in pool_windows(pool, self._layout.schedule.pieces[pool.source].shape):
            window, count = members.shape
            if window > 1:
                self._record(cost, window * count)
                self._smp(cost, window * count)
                cost.s1.add(MODMUL_N2, (window - 1) * count)
