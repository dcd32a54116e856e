"""The packed engine's SMP, measured: the products of one convolution on masked operands, one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from gmpy2 import mpz

from together.bench.dialogue import Run, play
from together.bench.networks import any_model
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import Tally
from twinveil.errors import TwinveilError
from twinveil.garbling.bits import to_bits
from twinveil.network.plan import IMAGE, Conv, Dense, IntArray, MaxPool, Plan, Relu
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.textbook.engine import Ask
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.model.layout import ImportLayout, Placement
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.textbook.model.s2 import ModelS2
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.protocol.packed.s2 import PackedS2
from twinveil.protocol.windows import bilinear
from twinveil.ring import Words, modulo, uniform
from twinveil.rounds.scripted import Script, expect
from twinveil.rpc import rounds_pb2 as pb

ACCUMULATOR_BITS = 20
POOL = 14


class PackedSmp:
    """Both sides of a 3x3 convolution, `channels` to `channels`, side x side outputs, no padding.

    A plan ends in a dense layer: here one of two classes behind large pools, in what is made ahead and in
    nothing else.
    """

    def __init__(self, key: SecretKey, params: Params, channels: int, side: int) -> None:
        conv = Conv("conv", IMAGE, channels, (3, 3), 1, 0, 8, ACCUMULATOR_BITS)
        window = min(side, POOL)
        relu, pool = Relu("relu", "conv", 0, 8), MaxPool("pool", "relu", window, window, 0)
        dense = Dense("dense", "pool", 2, 8, ACCUMULATOR_BITS)
        plan = Plan((channels, side + 2, side + 2), 8, (conv, relu, pool, dense), 0)
        self.products = plan.products(conv)
        self._key, self._conv = key, conv
        self._network = any_model(plan)
        layout = ImportLayout(plan, params, ("packed",))
        self._layout = layout.packed
        self._s1, self._s2 = ModelS1(layout), ModelS2(layout)
        for node in plan.linear_nodes:
            weights, biases = layout.placements(node)
            name = node.name
            self._s1.kernels["packed", name] = self._encrypted(weights, self._network.weights[name])
            self._s1.biases["packed", name] = self._encrypted(biases, self._network.biases[name])
            share = uniform(plan.weight_shape(node), node.accumulator_bits)
            whole = self._network.weights[name].astype(np.uint64)
            self._s1.shares[name] = share
            self._s2.shares[name] = modulo(whole - share, node.accumulator_bits)

    def run(self) -> Run:
        """One convolution of a random picture; every sum is checked."""
        public = self._key.public_key
        picture = uniform((self._layout.plan.image_shape[0], 1, *self._layout.plan.image_shape[1:]), 8)
        stage, bits = self._layout.schedule.stages[1], self._conv.accumulator_bits
        first = PackedS1(self._s1, self._layout, public, INLINE, Meter(tally=Tally()))
        second = PackedS2(self._s2, self._layout, self._key, INLINE, Meter(tally=self._key.tally))
        second.keep({IMAGE: to_bits(modulo(picture - first.shares[IMAGE], bits), bits)})
        masked: dict[str, Words] = {}

        def s1(ask: Ask) -> Iterator[None]:
            ask(pb.Round(prepare=pb.Prepare(masked_sums=first.prepare())))
            yield
            shares = expect(ask(pb.Round(garbled_batch=pb.GarbledBatch())), "encrypted_shares")
            sums = first.sums(stage, shares.encrypted_shares.ciphertexts).to_bytes()
            ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=sums)))

        def s2(request: pb.Round) -> Script:
            second.prepare(expect(request, "prepare").prepare.masked_sums)
            yield pb.Round(prepared=pb.Prepared())
            shares = second.encrypt_shares(stage).to_bytes()
            request = yield pb.Round(encrypted_shares=pb.EncryptedShares(ciphertexts=shares))
            masked.update(second.sums(stage, expect(request, "masked_sums").masked_sums.ciphertexts))
            yield pb.Round(corrections=pb.Corrections())

        made = play(s1, s2)
        name = self._conv.name
        plain = bilinear(picture, self._network.weights[name].astype(np.uint64), self._conv, bits)
        wanted = plain + self._network.biases[name].astype(np.uint64)[:, None]
        if modulo(masked[name] - first.sum_mask(stage.linear[0]) - wanted, bits).any():
            raise TwinveilError("the packed SMP gave a wrong sum")
        return made

    def _encrypted(self, placement: Placement, values: IntArray) -> list[mpz]:
        """E(K) or E(b) as after an import."""
        flat, width = [int(value) for value in values.reshape(-1)], 8 * placement.slot_bytes
        plaintexts: Sequence[int] = [
            sum(flat[value] << (width * slot) for slot, value in enumerate(row) if value >= 0)
            for row in placement.slots.tolist()
        ]
        made = self._key.encrypt(plaintexts).to_bytes()
        return self._key.public_key.parse(made, len(plaintexts))
