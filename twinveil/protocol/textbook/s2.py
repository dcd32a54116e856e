"""The textbook engine, S2's side (the formulas are in s1.py).

S2 decrypts operands that are uniform mod N and values under statistical masks; it encrypts products, masked
record bits and masked outputs of circuits.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import MODMUL_N
from twinveil.garbling.bits import bits_to_integers, to_bits
from twinveil.network.plan import IMAGE
from twinveil.network.schedule import PoolStep, ReluStep, Stage
from twinveil.parallel import Workers
from twinveil.protocol.meter import Meter
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.textbook.exchange import Circuits
from twinveil.protocol.textbook.garbled import EvaluatorSide
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, pool_windows
from twinveil.protocol.textbook.wide import Bits
from twinveil.ring import Words
from twinveil.rounds.observer import NOBODY, Masking, Observer
from twinveil.rounds.scripted import Dialogue, expect
from twinveil.rpc import rounds_pb2 as pb


class TextbookS2(SingleUse):
    """Keeps no activation at all: every tensor lies encrypted at S1."""

    def __init__(
        self,
        layout: TextbookLayout,
        key: SecretKey,
        workers: Workers,
        meter: Meter,
        observer: Observer = NOBODY,
    ) -> None:
        self._meter = meter
        self._observer = observer
        self._layout = layout
        self._key = key
        self._workers = workers

    def accept(self, values: Mapping[str, Bits]) -> pb.EncryptedShares:
        with self._meter.function("import"):
            return self._encrypted(values[IMAGE])

    def stage(self, circuits: Circuits, stage: Stage, request: pb.Round) -> Dialogue:
        request = yield from self._first_pools(circuits, stage, request)
        for step in stage.linear:
            request = yield from self.products("SCVL", self._layout.layer_products(step), request)
        for relu in stage.relus:
            request = yield from self._sact(circuits, relu, request)
        for pool in stage.pools:
            request = yield from self._smap(circuits, pool, request)
        return request

    def sct(
        self, circuits: Circuits, stage: Stage, request: pb.Round
    ) -> Generator[pb.Round, pb.Round, Words]:
        request = yield from self._first_pools(circuits, stage, request)
        (step,) = stage.linear
        request = yield from self.products("SCT", self._layout.layer_products(step), request)
        with self._meter.function("SCT"):
            classes = self._layout.plan.output.out_features
            masking = self._layout.sum_maskings[step.node.name]
            scores = self._masked(request, "scores", classes, step.node.accumulator_bits, masking)
            return scores[:, None]

    def _first_pools(self, circuits: Circuits, stage: Stage, request: pb.Round) -> Dialogue:
        """Pools on the picture itself come before the first layer."""
        if stage.index == 1:
            for pool in self._layout.schedule.stages[0].pools:
                request = yield from self._smap(circuits, pool, request)
        return request

    def products(self, function: str, count: int, request: pb.Round) -> Dialogue:
        """SMP, algorithm 1 l.2: decrypt both operands, multiply, encrypt."""
        public, tally = self._key.public_key, self._key.tally
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            operands = expect(request, "smp_operands").smp_operands
            with self._meter.function(function):
                sides = [public.parse(side, size, tally) for side in (operands.left, operands.right)]
                plain = self._key.decrypt([*sides[0], *sides[1]], workers=self._workers)
                self._observer.decrypted("operands", plain, None)
                products = [a * b % public.n for a, b in zip(plain[:size], plain[size:], strict=True)]
                tally.add(MODMUL_N, size)
                made = self._key.encrypt(products, workers=self._workers).to_bytes()
            request = yield pb.Round(smp_products=pb.SmpProducts(products=made))
        return request

    def _sact(self, circuits: Circuits, relu: ReluStep, request: pb.Round) -> Dialogue:
        plan = self._layout.plan
        bits, count = plan.bits[relu.source], int(np.prod(plan.shapes[relu.source]))
        masking = self._layout.sum_maskings[relu.source]
        with self._meter.function("SACT"):
            inputs = {"z.x": to_bits(self._masked(request, relu.source, count, bits, masking), bits)}
        request = yield from self._record(circuits.next(), inputs, "t", "SACT")
        request = yield from self.products("SACT", count, request)
        evaluator = circuits.next()
        with self._meter.function("SACT"):
            inputs = {"z.x": to_bits(self._masked(request, relu.name, count, bits, masking), bits)}
            corrections = evaluator.choose(inputs)
        request = yield pb.Round(corrections=pb.Corrections(bits=corrections))
        with self._meter.function("SACT"):
            values = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)
            made = self._encrypted(values["y"])
        return (yield pb.Round(encrypted_shares=made))

    def _smap(self, circuits: Circuits, pool: PoolStep, request: pb.Round) -> Dialogue:
        source = self._layout.schedule.pieces[pool.source]
        for members in pool_windows(pool, source.shape):
            window, count = members.shape
            if window > 1:
                with self._meter.function("SMAP"):
                    masking = self._layout.masking(source.bits)
                    masked = self._masked(request, pool.source, window * count, source.bits, masking)
                    inputs = {"z.r": to_bits(masked.reshape(window, count), source.bits)}
                request = yield from self._record(circuits.next(), inputs, "mr", "SMAP")
                request = yield from self.products("SMAP", window * count, request)
        return request

    def _record(
        self, evaluator: EvaluatorSide, inputs: Mapping[str, Bits], name: str, function: str
    ) -> Dialogue:
        """Evaluate a record circuit and return E(record xor m)."""
        request = yield pb.Round(corrections=pb.Corrections(bits=evaluator.choose(inputs)))
        with self._meter.function(function):
            record = evaluator.evaluate(expect(request, "garbled_batch").garbled_batch)[name]
            bits = [mpz(bit) for bit in record.reshape(-1).tolist()]
            made = self._key.encrypt(bits, workers=self._workers).to_bytes()
        return (yield pb.Round(record_bits=pb.RecordBits(ciphertexts=made)))

    def _masked(self, request: pb.Round, name: str, count: int, bits: int, masking: Masking) -> Words:
        """Low bits of x + s, all that a circuit reads."""
        sent = expect(request, "masked_sums").masked_sums.ciphertexts
        values = self._key.public_key.parse(sent, count, self._key.tally)
        plain = self._key.decrypt(values, workers=self._workers)
        self._observer.decrypted(name, plain, masking)
        low = (1 << bits) - 1
        return np.array([int(value & low) for value in plain], np.uint64)

    def _encrypted(self, values: Bits) -> pb.EncryptedShares:
        plain: Sequence[mpz] = [mpz(value) for value in bits_to_integers(values)]
        return pb.EncryptedShares(ciphertexts=self._key.encrypt(plain, workers=self._workers).to_bytes())
