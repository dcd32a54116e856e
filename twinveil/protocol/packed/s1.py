"""The packed engine, S1's side of one query.

    ahead   S1        x1 := - fresh masks, uniform, for every activation
            S1 -> S2  E(conv(x1, K) + b + s)        channels in slots
    online, for every stage:
            S2 -> S1  E(x2)                         positions in slots, one plaintext a tap and block
            S1 -> S2  E(conv(x2, K1) + s')          one multi-exponentiation an output channel and block
            both      z = own + online + ahead at S2, s + s' at S1;  circuit (SACT, SMAP) on z - s - s'

S1 sees ciphertexts and uniform bits only. Every ciphertext that it sends carries a fresh full nonce, every
slot of it a mask of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from gmpy2 import mpz

from twinveil.crypto.nonces import FreshCiphertexts, NoncePool, Rerandomiser
from twinveil.crypto.packing import draw_masks
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import OutOfOrder
from twinveil.garbling.bits import to_bits
from twinveil.network.schedule import LinearStep, Stage
from twinveil.parallel import Workers
from twinveil.protocol.engine import Exchange
from twinveil.protocol.meter import Meter, nonlinear
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.packed.kernels import KernelTables, online_sums
from twinveil.protocol.packed.layout import LayerLayout, PackedLayout, Slots, layer_input
from twinveil.protocol.single_use import SingleUse
from twinveil.protocol.wide import Bits
from twinveil.ring import Words, modulo, negate, uniform
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.types_pb2 import Progress


class PackedS1(SingleUse):
    """Single use: its shares and masks are drawn at construction and never again."""

    def __init__(
        self,
        model: ModelS1,
        layout: PackedLayout,
        key: PublicKey,
        workers: Workers,
        meter: Meter,
    ) -> None:
        self._kernel_shares = model.shares
        self._tables: KernelTables | None = model.tables
        self._meter = meter
        self._layout = layout
        self._key = key
        self._rerandomiser = Rerandomiser(key, meter.tally)
        self._workers = workers
        self._masks: dict[str, Words] = {}
        self._sum_masks: dict[str, Words] = {}
        self._shares: dict[str, Words] = {}
        self._nonces: NoncePool | None = None
        self._inbox = b""
        self._corrections = b""
        for name, piece in layout.schedule.pieces.items():
            if piece.share_bits:
                channels, height, width = piece.shape
                mask = uniform((channels, layout.pictures, height, width), piece.share_bits)
                self._masks[name] = mask
                self._shares[name] = negate(mask, piece.share_bits)

    @property
    def shares(self) -> Mapping[str, Words]:
        """x1 by piece (channels, pictures, height, width), of every activation so far."""
        return self._shares

    def prepare(self) -> bytes:
        """E(conv(x1, K) + b + s) of every layer, in the plan's order. Of the model, only K1 is kept then."""
        tables, self._tables = self._tables, None
        if tables is None:
            raise OutOfOrder("a query is prepared once")
        steps = [step for stage in self._layout.schedule.stages for step in stage.linear]
        by_name = {step.node.name: step for step in steps}
        layers = self._layout.layers
        masked = []
        for name, layer in layers.items():
            columns = layer.ahead_columns(layer_input(by_name[name], self._shares))
            made = tables.sums(layer, columns, self._key, self._workers, self._meter.tally)
            ciphertexts, low = self._mask(made, layer.ahead, layer)
            masked += ciphertexts
            self._sum_masks[name] = layer.from_ahead(low)
        online = sum(layer.online_sums for layer in layers.values())
        self._nonces = self._rerandomiser.nonces(online, self._workers)
        return self._rerandomiser.freshen(masked, workers=self._workers).to_bytes()

    def picture_masks(self) -> dict[str, Bits]:
        return self.output_masks(self._layout.schedule.stages[0])

    def accept(self, reply: pb.EncryptedShares) -> None:
        self._inbox = reply.ciphertexts

    def scvl(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        yield self._progress(stage, ", ".join(step.node.name for step in stage.linear))
        with self._meter.function("SCVL"):
            sums = self.sums(stage, self._inbox).to_bytes()
            reply = exchange.ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=sums)))
            self._corrections = expect(reply, "corrections").corrections.bits

    def sact_smap(self, exchange: Exchange, stage: Stage) -> Iterator[Progress]:
        with self._meter.function(nonlinear(stage)):
            inputs = {**self.sum_mask_bits(stage), **self.output_masks(stage)}
            reply = exchange.ask(exchange.garbled(inputs, self._corrections))
            self.accept(expect(reply, "encrypted_shares").encrypted_shares)
        return iter(())

    def sct(self, exchange: Exchange, stage: Stage) -> Generator[Progress, None, tuple[pb.Round, Words]]:
        yield self._progress(stage, "class vector")
        with self._meter.function("SCT"):
            sums = self.sums(stage, self._inbox).to_bytes()
            reply = exchange.ask(pb.Round(masked_sums=pb.MaskedSums(ciphertexts=sums)))
            return reply, self.sum_mask(stage.linear[0])

    def _progress(self, stage: Stage, label: str) -> Progress:
        return Progress(stage=stage.index, stages=len(self._layout.schedule.stages), label=label)

    def output_masks(self, stage: Stage) -> dict[str, Bits]:
        """Circuit inputs mask.PIECE of a stage's outputs: the negated shares."""
        pieces = self._layout.schedule.pieces
        return {f"mask.{name}": to_bits(self._masks[name], pieces[name].share_bits) for name in stage.outputs}

    def sums(self, stage: Stage, encrypted_shares: bytes) -> FreshCiphertexts:
        """E(conv(x2, K1) + s') of every layer of `stage`."""
        layers = [self._layout.step(step) for step in stage.linear]
        total = sum(int(layer.tap_blocks.sum()) for layer in layers)
        ciphertexts = iter(self._key.parse(encrypted_shares, total, self._meter.tally))
        made = online_sums(
            [(layer, self._exponents(layer), _blocks(layer, ciphertexts)) for layer in layers],
            self._key,
            self._workers,
            self._meter.tally,
        )
        masked = []
        for layer, sums in zip(layers, made, strict=True):
            part, low = self._mask(sums, layer.online, layer)
            masked += part
            name = layer.node.name
            self._sum_masks[name] = modulo(self._sum_masks[name] + layer.from_online(low), layer.bits)
        return self._rerandomiser.freshen(masked, self._nonces, self._workers)

    def sum_mask_bits(self, stage: Stage) -> dict[str, Bits]:
        """Circuit inputs s.LAYER."""
        return {
            f"s.{step.node.name}": to_bits(self.sum_mask(step), step.node.accumulator_bits)
            for step in stage.linear
        }

    def sum_mask(self, step: LinearStep) -> Words:
        """s + s' modulo 2^L of a layer, (out, positions)."""
        return self._sum_masks[step.node.name]

    def _exponents(self, layer: LayerLayout) -> Words:
        shares = self._kernel_shares[layer.node.name]
        return shares.reshape(shares.shape[0], -1)

    def _mask(self, sums: list[mpz], slots: Slots, layer: LayerLayout) -> tuple[list[mpz], Words]:
        """Sums with a mask in every slot, wanted or not, and the masks' low words (sums, slots)."""
        masks, low = draw_masks(len(sums), slots.count, slots.bytes, slots.mask_bits, slots.offset)
        return self._key.add_plain(sums, masks, self._meter.tally), modulo(low, layer.bits)


def _blocks(layer: LayerLayout, ciphertexts: Iterator[mpz]) -> list[list[mpz]]:
    """S2's ciphertexts of one layer, by block."""
    return [[next(ciphertexts) for _ in range(int(n))] for n in layer.tap_blocks.sum(axis=0)]
