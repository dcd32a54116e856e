"""The packed engine's cost, step by step as in protocol/packed; every count follows from the layout."""

from __future__ import annotations

from collections.abc import Iterator

from twinveil.crypto.multiexp import predict_all, shift_combine_counts
from twinveil.crypto.multiexp_fixed import FIXED_GROUP
from twinveil.crypto.multiexp_schedule import Tables
from twinveil.crypto.nonces import encrypt_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.estimate.cost import Cost, Costs, corrections, function, garbled_batch
from twinveil.estimate.wire import round_bytes
from twinveil.network.plan import Dense
from twinveil.network.schedule import Stage
from twinveil.protocol.meter import nonlinear
from twinveil.protocol.packed.layout import LayerLayout, PackedLayout
from twinveil.protocol.textbook.garbled import GarbledStep


class PackedCost:
    """Mirrors PackedS1 and PackedS2. parts: S1's workers, between which outputs are shared out."""

    def __init__(self, layout: PackedLayout, parts: int) -> None:
        self._layout = layout
        self._parts = parts
        self._ciphertext = 2 * layout.key_bits // 8

    def prepare(self, costs: Costs) -> int:
        """Sums made ahead, and nonces for what is sent online. Returns the bytes of S1's sums."""
        cost, layout = function(costs, "ahead"), self._layout
        layers = layout.layers.values()
        for layer in layers:
            powers = ahead_powers(layer)
            cost.s1 += powers
            cost.s1_shared += powers if layer.groups > 1 else {}  # one output has nothing to share
            cost.s1.add(MODMUL_N2, layer.ahead_sums)
            cost.s1 += PublicKey.add_plain_counts(layer.ahead_sums)
        sums = sum(layer.ahead_sums for layer in layers)
        cost.draw(layout.key_bits, sums)
        cost.draw(layout.key_bits, sum(layer.online_sums for layer in layers))
        cost.s1.add(MODMUL_N2, sums)
        cost.draw_short(layout.key_bits, sum(map(shares, layers)))
        cost.decrypt(sums)
        return sums * self._ciphertext

    def accept(self, costs: Costs) -> int:
        """S2's shares of the picture for the first layers. Returns the bytes of its message."""
        return self._encrypted_shares(costs, self._layout.schedule.stages[1])

    def scvl(self, costs: Costs, steps: Iterator[GarbledStep], stage: Stage) -> None:
        cost = function(costs, "SCVL")
        cost.ask(self._sums(cost, stage), self._corrections(steps))

    def sact_smap(self, costs: Costs, stage: Stage) -> None:
        cost, step = function(costs, nonlinear(stage)), self._step
        cost.evaluate(step)
        following = self._layout.schedule.stages[stage.index + 1]
        cost.ask(garbled_batch(step), self._encrypted_shares(costs, following))

    def sct(self, costs: Costs, steps: Iterator[GarbledStep], stage: Stage, reply: int) -> None:
        cost = function(costs, "SCT")
        cost.ask(self._sums(cost, stage), reply)

    def _corrections(self, steps: Iterator[GarbledStep]) -> int:
        self._step = next(steps)
        return corrections(self._step)

    def _sums(self, cost: Cost, stage: Stage) -> int:
        """E(conv(x2, K1) + s') at S1, decrypted at S2. Returns the bytes of S1's message."""
        layers = [self._layout.step(step) for step in stage.linear]
        cost.s1 += PublicKey.check_counts(sum(map(shares, layers)))
        cost.share_out(online_powers(layers, self._parts))
        cost.s1 += fold_counts(layers)
        sums = sum(layer.online_sums for layer in layers)
        cost.s1 += PublicKey.add_plain_counts(sums)
        cost.s1.add(MODMUL_N2, sums)
        cost.decrypt(sums)
        return round_bytes("masked_sums", ciphertexts=sums * self._ciphertext)

    def _encrypted_shares(self, costs: Costs, stage: Stage) -> int:
        cost = function(costs, "SCT" if isinstance(stage.linear[0].node, Dense) else "SCVL")
        count = sum(shares(self._layout.step(step)) for step in stage.linear)
        cost.s2 += encrypt_counts(count)
        return round_bytes("encrypted_shares", ciphertexts=count * self._ciphertext)


def shares(layer: LayerLayout) -> int:
    """Ciphertexts of S2's shares: a tap and a block each, padding left out."""
    return int(layer.tap_blocks.sum())


def ahead_powers(layer: LayerLayout) -> Tally:
    """E(conv(x1, K)): a term of L bits is L/8 half multiplications, in each chunk of channels."""
    chunks, bases, _ = layer.kernel_slots.shape
    tally = Tally()
    for _ in range(chunks):
        tally += Tables(min(FIXED_GROUP, bases), 1).power_counts(bases, layer.groups, layer.bits)
    return tally


def online_powers(layers: list[LayerLayout], parts: int) -> Tally:
    """E(conv(x2, K1)) of one stage's layers."""
    shapes = [
        (int(layer.tap_blocks[:, block].sum()), layer.out, layer.bits)
        for layer in layers
        for block in range(layer.blocks)
    ]
    return predict_all(shapes, parts)


def fold_counts(layers: list[LayerLayout]) -> Tally:
    """Several channels into one ciphertext, where one has room for them."""
    tally = Tally()
    for layer in layers:
        if layer.folded > 1:
            width = 8 * layer.online.bytes * layer.positions
            for start in range(0, layer.out, layer.folded):
                tally += shift_combine_counts(min(layer.folded, layer.out - start), width)
    return tally
