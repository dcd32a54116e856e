"""The packed engine, S2's side of one query. Drawn in s1.py; what S2 sees is in ../README.md.

S2 holds its shares x2 of every activation and K2 of every kernel. It decrypts only sums under S1's masks.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from gmpy2 import mpz

from twinveil.crypto.nonces import FreshCiphertexts, NoncePool
from twinveil.crypto.packing import pack, unpack_low
from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.network.plan import Dense
from twinveil.network.schedule import Stage
from twinveil.parallel import Workers
from twinveil.protocol.engine import Circuits, Dialogue
from twinveil.protocol.meter import Meter, nonlinear
from twinveil.protocol.model.s2 import ModelS2
from twinveil.protocol.packed.layout import PackedLayout, layer_input
from twinveil.protocol.shares import bilinear, windows
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.wide import Bits
from twinveil.ring import Words, modulo
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb


class PackedS2(SingleUse):
    """shares: x2 by piece (channels, pictures, height, width); ahead: S2's part of conv(x1, K) + b."""

    def __init__(
        self,
        model: ModelS2,
        layout: PackedLayout,
        key: SecretKey,
        workers: Workers,
        meter: Meter,
        observer: Observer = NOBODY,
    ) -> None:
        self._meter = meter
        self._observer = observer
        self._model = model
        self._layout = layout
        self._key = key
        self._workers = workers
        self._shares: dict[str, Words] = {}
        self._ahead: dict[str, Words] = {}
        self._nonces: NoncePool | None = None

    def prepare(self, masked_sums: bytes) -> None:
        """Decrypt what S1 made ahead: conv(x1, K) + b + mask, all layers in one batch."""
        layers = self._layout.layers
        total = sum(layer.ahead_sums for layer in layers.values())
        encryptions = sum(int(layer.tap_blocks.sum()) for layer in layers.values())
        plaintexts = self._decrypt(masked_sums, total)
        self._nonces = self._key.nonces(encryptions, self._workers)
        start = 0
        for name, layer in layers.items():
            part = plaintexts[start : start + layer.ahead_sums]
            start += layer.ahead_sums
            self._observer.decrypted(f"ahead {name}", part, layer.ahead.masking)
            slots = unpack_low(part, layer.ahead.count, layer.ahead.bytes, layer.bits)
            self._ahead[name] = layer.from_ahead(slots)

    def accept(self, values: Mapping[str, Bits]) -> pb.EncryptedShares:
        self.keep(values)
        return self._encrypted_shares(self._layout.schedule.stages[1])

    def stage(self, circuits: Circuits, stage: Stage, request: pb.Round) -> Dialogue:
        with self._meter.function("SCVL"):
            sums = self.sums(stage, expect(request, "masked_sums").masked_sums.ciphertexts)
        evaluator = circuits.next()
        with self._meter.function(nonlinear(stage)):
            inputs = {f"z.{name}": to_bits(z, self._layout.layers[name].bits) for name, z in sums.items()}
            corrections = evaluator.choose(inputs)
        request = yield pb.Round(corrections=pb.Corrections(bits=corrections))
        with self._meter.function(nonlinear(stage)):
            self.keep(evaluator.evaluate(expect(request, "garbled_batch").garbled_batch))
        following = self._layout.schedule.stages[stage.index + 1]
        return (yield pb.Round(encrypted_shares=self._encrypted_shares(following)))

    def sct(
        self, circuits: Circuits, stage: Stage, request: pb.Round
    ) -> Generator[pb.Round, pb.Round, Words]:
        with self._meter.function("SCT"):
            sums = self.sums(stage, expect(request, "masked_sums").masked_sums.ciphertexts)
        yield from ()
        return sums[stage.linear[0].node.name]

    def _encrypted_shares(self, stage: Stage) -> pb.EncryptedShares:
        with self._meter.function("SCT" if isinstance(stage.linear[0].node, Dense) else "SCVL"):
            return pb.EncryptedShares(ciphertexts=self.encrypt_shares(stage).to_bytes())

    def keep(self, outputs: Mapping[str, Bits]) -> None:
        """Take this side's shares of a circuit's outputs."""
        for name, bits in outputs.items():
            self._shares[name] = from_bits(bits)

    def encrypt_shares(self, stage: Stage) -> FreshCiphertexts:
        """E(x2) for the linear steps of `stage`: layer by layer, block by block, tap by tap."""
        plaintexts = []
        for step in stage.linear:
            layer = self._layout.step(step)
            taps = layer.in_blocks(windows(layer_input(step, self._shares), step.node))
            present = layer.tap_blocks
            for block in range(layer.blocks):
                plaintexts += pack(taps[present[:, block], block], layer.online.bytes)
        return self._key.encrypt(plaintexts, self._nonces, self._workers)

    def sums(self, stage: Stage, masked_sums: bytes) -> dict[str, Words]:
        """z = y + s modulo 2^L of every layer of `stage`, (out, positions)."""
        layers = [self._layout.step(step) for step in stage.linear]
        total = sum(layer.online_sums for layer in layers)
        plaintexts = self._decrypt(masked_sums, total)
        made, start = {}, 0
        for step, layer in zip(stage.linear, layers, strict=True):
            part = plaintexts[start : start + layer.online_sums]
            start += layer.online_sums
            self._observer.decrypted(f"online {step.node.name}", part, layer.online.masking)
            online = layer.from_online(unpack_low(part, layer.online.count, layer.online.bytes, layer.bits))
            x2, k2 = layer_input(step, self._shares), self._model.shares[step.node.name]
            own = bilinear(x2, k2, step.node, layer.bits)
            made[step.node.name] = modulo(own + online + self._ahead[step.node.name], layer.bits)
        return made

    def _decrypt(self, masked_sums: bytes, count: int) -> list[mpz]:
        sums = self._key.public_key.parse(masked_sums, count, self._key.tally)
        return self._key.decrypt(sums, workers=self._workers)
