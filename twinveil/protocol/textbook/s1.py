"""The textbook engine, S1's side: the published formulas line by line, one ciphertext a value.

    SMP    (Elmehdwi, Samanthula, Jiang: ICDE 2014, algorithm 1)
           S1 -> S2  E(a + ra), E(b + rb), ra, rb uniform mod N     S2 -> S1  E((a + ra)(b + rb))
           S1        E(ab) = E(h) * E(a)^-rb * E(b)^-ra * E(-ra rb)
    SCVL   E(y) = prod SMP(E(d), E(K)) * E(b)
    SACT   circuit on x: t = (x > 0), S2 -> S1 E(t xor m), S1 flips;  E(x t) = SMP(E(x), E(t))
           circuit: requantise, S2 -> S1 E(y + r), S1 subtracts r
    SMAP   circuit on the window: MR xor m, one-hot; E(max) = prod SMP(E(R_ij), E(MR_ij))
    SCT    E(c) = prod SMP(E(v), E(w)) * E(b)

S1 sees ciphertexts and uniform bits. What S2 sees is uniform mod N (SMP) or masked for sigma (circuits).
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N, MUL_N
from twinveil.garbling.bits import bits_to_integers, to_bits
from twinveil.network.plan import IMAGE
from twinveil.network.schedule import LinearStep, PoolStep, ReluStep, Stage
from twinveil.protocol.meter import Meter
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.textbook.arithmetic import Arithmetic
from twinveil.protocol.textbook.exchange import Exchange
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, pool_order, pool_windows
from twinveil.protocol.textbook.wide import Bits, random_bits
from twinveil.protocol.windows import windows
from twinveil.ring import Words, modulo
from twinveil.rounds.observer import Masking
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress

Ciphertexts = npt.NDArray[np.object_]


class TextbookS1(SingleUse):
    """tensors: ciphertexts of every piece and of every layer's accumulators, flattened channel-major.

    What takes SMPs yields its progress, in SMPs of the whole picture.
    """

    def __init__(
        self,
        model: ModelS1,
        layout: TextbookLayout,
        key: PublicKey,
        meter: Meter,
    ) -> None:
        self._model = model
        self._layout = layout
        self._key = key
        self._meter = meter
        self._tally = meter.tally
        self._rerandomiser = Rerandomiser(key, meter.tally)
        self._arithmetic = Arithmetic(key, meter.tally)
        self._smps, self._smps_done = sum(layout.smps.values()), 0
        self._tensors: dict[str, Ciphertexts] = {}
        self._picture_mask = random_bits(layout.mask_bits(layout.picture.bits), layout.picture.count, top=1)

    def picture_masks(self) -> dict[str, Bits]:
        return {f"mask.{IMAGE}": self._picture_mask}

    def accept(self, reply: pb.EncryptedShares) -> None:
        self._tensors[IMAGE] = self._unmasked(reply.ciphertexts, self._picture_mask)

    def scvl(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        yield from self._first_pools(exchange, stage)
        with self._meter.function("SCVL"):
            for step in stage.linear:
                self._tensors[step.node.name] = yield from self._linear(exchange, "SCVL", step)

    def sact_smap(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        with self._meter.function("SACT"):
            for relu in stage.relus:
                self._tensors[relu.name] = yield from self._sact(exchange, relu)
        yield from self._smap(exchange, stage)

    def sct(self, exchange: Exchange, stage: Stage) -> Generator[Progress, None, tuple[pb.Round, Words]]:
        yield from self._first_pools(exchange, stage)
        (step,) = stage.linear
        with self._meter.function("SCT"):
            sums = yield from self._linear(exchange, "SCT", step)
            reply, masks = self._mask(exchange, list(sums), self._layout.sum_maskings[step.node.name])
        return reply, modulo(masks, step.node.accumulator_bits)[:, None]

    def smp(
        self, ask: Ask, work: str, left: Sequence[mpz], right: Sequence[mpz]
    ) -> Generator[Progress, None, list[mpz]]:
        """SMP(E(a), E(b)) elementwise, in messages of BATCH products. work: what for, as people read it."""
        made: list[mpz] = []
        for start in range(0, len(left), BATCH):
            yield Progress(stage=self._smps_done, stages=self._smps, label=work)
            made += self._smp(ask, left[start : start + BATCH], right[start : start + BATCH])
            self._smps_done += len(made) - start
        return made

    def _smp(self, ask: Ask, left: Sequence[mpz], right: Sequence[mpz]) -> list[mpz]:
        arithmetic, n = self._arithmetic, int(self._key.n)
        # Alg. 1 l.1: ra, rb uniform mod N, so that S2 learns nothing from a + ra and b + rb.
        masks = [(secrets.randbelow(n), secrets.randbelow(n)) for _ in left]
        sent = [
            self._rerandomiser.freshen_fully(
                self._key.add_plain(values, [mask[side] for mask in masks], self._tally)
            )
            for side, values in enumerate((left, right))
        ]
        reply = ask(pb.Round(smp_operands=pb.SmpOperands(left=sent[0].to_bytes(), right=sent[1].to_bytes())))
        products = self._key.parse(
            expect(reply, "smp_products").smp_products.products, len(left), self._tally
        )
        self._tally += {MODMUL_N: len(left), MUL_N: len(left)}
        made = []
        for h, a, b, (ra, rb) in zip(products, left, right, masks, strict=True):
            # Alg. 1 l.3: ab = h - a rb - b ra - ra rb.
            crossed = arithmetic.add(arithmetic.scale(a, -rb), arithmetic.scale(b, -ra))
            made.append(arithmetic.add(arithmetic.add(h, crossed), self._key.raw(-ra * rb)))
        return made

    def _linear(
        self, exchange: Exchange, function: str, step: LinearStep
    ) -> Generator[Progress, None, Ciphertexts]:
        """SCVL or SCT of one layer: (out * positions) ciphertexts."""
        node, plan = step.node, self._layout.plan
        x = np.concatenate([self._tensors[name] for name in step.inputs])
        shape = plan.shapes[node.source]
        # Tap indices, 1-based so that padding's 0 is told apart.
        index = np.arange(1, x.size + 1, dtype=np.uint64).reshape(shape[0], 1, *shape[1:])
        taps = windows(index, node).astype(np.int64)
        weights = self._model.kernels[node.name]
        biases = self._model.biases[node.name]
        left, right, lengths = [], [], []
        for channel in range(len(biases)):
            for position in range(taps.shape[1]):
                real = np.flatnonzero(taps[:, position])
                left += [x[taps[tap, position] - 1] for tap in real]
                right += [weights[channel * taps.shape[0] + tap] for tap in real]
                lengths.append((channel, len(real)))
        products = iter((yield from self.smp(exchange.ask, f"{function} {node.name}", left, right)))
        sums = [
            self._arithmetic.sum([biases[channel], *(next(products) for _ in range(count))])
            for channel, count in lengths
        ]
        return np.array(sums, object)

    def _sact(self, exchange: Exchange, relu: ReluStep) -> Generator[Progress, None, Ciphertexts]:
        """E(min(max(x, 0) >> shift, 2^bits - 1)) from E(x)."""
        values, bits = self._tensors[relu.source], self._layout.plan.bits[relu.source]
        wide = self._layout.sum_maskings[relu.source]
        reply, masks = self._mask(exchange, list(values), wide)
        records = self._records(exchange, reply, {"s.x": to_bits(masks, bits)}, "mask.t", len(values))
        kept = yield from self.smp(exchange.ask, f"SACT {relu.name}", list(values), records)
        reply, masks = self._mask(exchange, kept, wide)
        mask = random_bits(self._layout.mask_bits(relu.bits), len(values), top=1)
        corrections = expect(reply, "corrections").corrections.bits
        reply = exchange.ask(exchange.garbled({"s.x": to_bits(masks, bits), "mask.y": mask}, corrections))
        return self._unmasked(expect(reply, "encrypted_shares").encrypted_shares.ciphertexts, mask)

    def _first_pools(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        """Pools on the picture itself come before the first layer."""
        if stage.index == 1:
            yield from self._smap(exchange, self._layout.schedule.stages[0])

    def _smap(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        for pool in stage.pools:
            with self._meter.function("SMAP"):
                self._tensors[pool.name] = yield from self._pool(exchange, pool)

    def _pool(self, exchange: Exchange, pool: PoolStep) -> Generator[Progress, None, Ciphertexts]:
        """E(max of each window), MR from a circuit, products by SMP."""
        source = self._layout.schedule.pieces[pool.source]
        values, bits = self._tensors[pool.source], source.bits
        maxima: list[mpz] = []
        for members in pool_windows(pool, source.shape):
            window, count = members.shape
            chosen = list(values[members.reshape(-1)])
            if window == 1:
                maxima += chosen
                continue
            reply, masks = self._mask(exchange, chosen, self._layout.masking(bits))
            inputs = {"s.r": to_bits(masks.reshape(window, count), bits)}
            records = self._records(exchange, reply, inputs, "mask.mr", window * count, (window, count))
            products = yield from self.smp(exchange.ask, f"SMAP {pool.name}", chosen, records)
            columns = np.array(products, object).reshape(window, count).T
            maxima += [self._arithmetic.sum(list(column)) for column in columns]
        placed = np.empty(len(maxima), object)
        placed[pool_order(pool, source.shape)] = maxima
        return placed

    def _records(
        self,
        exchange: Exchange,
        reply: pb.Round,
        inputs: dict[str, Bits],
        mask_name: str,
        count: int,
        shape: tuple[int, ...] | None = None,
    ) -> list[mpz]:
        """E(t) from S2's E(t xor m): 1 - t' where m is set."""
        flips = random_bits(1, count)
        corrections = expect(reply, "corrections").corrections.bits
        garbled = exchange.garbled({**inputs, mask_name: flips.reshape(1, *(shape or (count,)))}, corrections)
        made = expect(exchange.ask(garbled), "record_bits").record_bits
        one, arithmetic = self._key.raw(1), self._arithmetic
        records = self._key.parse(made.ciphertexts, count, self._tally)
        # Both are made, whatever the flip: neither time nor count depends on it.
        flipped = [arithmetic.add(one, arithmetic.negate(record)) for record in records]
        return [pair[int(flip)] for *pair, flip in zip(records, flipped, flips[0], strict=True)]

    def _mask(self, exchange: Exchange, values: Sequence[mpz], masking: Masking) -> tuple[pb.Round, Words]:
        """Send E(x + s) for a circuit; S2's reply and the low words of s."""
        drawn = [masking.offset + secrets.randbits(masking.bits) for _ in values]
        fresh = self._rerandomiser.freshen_fully(self._key.add_plain(values, drawn, self._tally))
        reply = exchange.ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=fresh.to_bytes())))
        return reply, np.array([s & (2**64 - 1) for s in drawn], np.uint64)

    def _unmasked(self, data: bytes, mask: Bits) -> Ciphertexts:
        """E(v) from E(v + mask)."""
        ciphertexts = self._key.parse(data, mask.shape[1], self._tally)
        masks = [-mask for mask in bits_to_integers(mask)]
        return np.array(self._key.add_plain(ciphertexts, masks, self._tally), object)
