"""Writes down every mask that S1 draws and everything under a mask that S2 gets, and holds them together."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from gmpy2 import mpz

from tests.crypto.unpacking import unpack_wide
from twinveil.crypto.packing import draw_masks
from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.bits import bits_to_integers, from_bits
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarblerSide
from twinveil.protocol.textbook.wide import Bits, random_bits
from twinveil.ring import Words, uniform
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True)
class Masked:
    """One plaintext that S2 saw: z modulo N, S1's mask, and how the mask was drawn."""

    seen: int
    mask: int
    slots: int
    slot_bytes: int
    mask_bits: int
    offset: int

    def values(self) -> list[int]:
        """What lies under the mask, slot by slot. Raises ValueError unless every slot is value + mask."""
        if self.seen >> (8 * self.slots * self.slot_bytes):
            raise ValueError("something lies above the top slot")
        (seen,) = unpack_wide([mpz(self.seen)], self.slots, self.slot_bytes)
        masks = self.masks()
        if not all(self.offset <= mask < self.offset + (1 << self.mask_bits) for mask in masks):
            raise ValueError("a mask is not of the planned bits")
        return [z - s for z, s in zip(seen, masks, strict=True)]

    def masks(self) -> list[int]:
        """Of every slot."""
        (masks,) = unpack_wide([mpz(self.mask)], self.slots, self.slot_bytes)
        return list(masks)


class Whole(NamedTuple):
    """A value under one mask, as S2 decrypts it or a circuit gives it out: seen = value + mask."""

    seen: int
    mask: int
    bits: int


class Factor(NamedTuple):
    """An operand of a product modulo N: seen = value + mask mod `below`."""

    seen: int
    mask: int
    below: int


class Hidden(NamedTuple):
    """An output of a circuit under a perfect mask, value by value: seen = value + mask modulo 2^width, or
    value xor mask.

    bits: those of the mask as it was drawn; 0 if the circuit's mask is none that was drawn, or serves again.
    """

    name: str
    seen: Words
    mask: Words
    width: int
    bits: int


FLIPPED = ("t", "mr", "label")
"""Outputs of circuits that are xored with their masks."""


@dataclass
class Ledger:
    """sums: packed sums; wholes: a client's plaintexts and the textbook engine's values; factors: of its
    products; all in the order in which S2 decrypts them. outputs: of circuits that hide them statistically;
    shares, flips: of those that hide them perfectly.
    """

    sums: list[Masked] = field(default_factory=list)
    wholes: list[Whole] = field(default_factory=list)
    factors: list[Factor] = field(default_factory=list)
    outputs: list[Whole] = field(default_factory=list)
    shares: list[Hidden] = field(default_factory=list)
    flips: list[Hidden] = field(default_factory=list)
    _drawn: list[Masked | Whole | Factor] = field(default_factory=list)
    _hidden: list[Bits] = field(default_factory=list)
    _uniform: list[tuple[Words, int]] = field(default_factory=list)
    _inputs: Mapping[str, Bits] = field(default_factory=dict)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("twinveil.protocol.packed.s1.draw_masks", self._slots)
        for module in ("packed", "query"):
            patch.setattr(f"twinveil.protocol.{module}.s1.uniform", self._words)
        for module in ("query", "model", "textbook"):
            patch.setattr(f"twinveil.protocol.{module}.s1.random_bits", partial(self._bits, module))
        patch.setattr("twinveil.protocol.textbook.s1.secrets", self)
        decrypt, send, evaluate = SecretKey.decrypt, GarblerSide.send, EvaluatorSide.evaluate

        def decrypting(key: SecretKey, values: Sequence[mpz], workers: Workers = INLINE) -> list[mpz]:
            plaintexts = decrypt(key, values, workers)
            self._decrypted(plaintexts)
            return plaintexts

        def sending(
            side: GarblerSide, ot: ExtensionSender, inputs: Mapping[str, Bits], corrections: bytes
        ) -> pb.GarbledBatch:
            self._inputs = inputs
            return send(side, ot, inputs, corrections)

        def evaluating(side: EvaluatorSide, batch: pb.GarbledBatch) -> dict[str, Bits]:
            outputs = evaluate(side, batch)
            self._evaluated(outputs)
            return outputs

        patch.setattr(SecretKey, "decrypt", decrypting)
        patch.setattr(GarblerSide, "send", sending)
        patch.setattr(EvaluatorSide, "evaluate", evaluating)

    def settled(self) -> bool:
        """Every mask that was drawn met its plaintext or its output."""
        return not self._drawn and not self._hidden and not self._uniform

    def clear(self) -> None:
        for kept in (self.sums, self.wholes, self.factors, self.outputs, self.shares, self.flips):
            kept.clear()

    def randbits(self, bits: int) -> int:
        """The textbook engine's masks of values."""
        made = secrets.randbits(bits)
        self._drawn.append(Whole(0, made, bits))
        return made

    def randbelow(self, below: int) -> int:
        """The textbook engine's masks of factors: left, right, left, right, ..."""
        made = secrets.randbelow(below)
        self._drawn.append(Factor(0, made, below))
        return made

    def _slots(self, count: int, slots: int, slot_bytes: int, mask_bits: int, offset: int) -> object:
        made = draw_masks(count, slots, slot_bytes, mask_bits, offset)
        self._drawn += [Masked(0, int(m), slots, slot_bytes, mask_bits, offset) for m in made[0]]
        return made

    def _words(self, shape: tuple[int, ...], bits: int) -> Words:
        made = uniform(shape, bits)
        self._uniform.append((made.copy(), bits))
        return made

    def _bits(self, module: str, width: int, count: int, top: int = 0) -> Bits:
        made = random_bits(width, count, top)
        if top:
            self._hidden.append(made.copy())
        elif module == "textbook":
            self._uniform.append((from_bits(made), width))
        else:
            self._drawn += [Whole(0, int(m), width) for m in bits_to_integers(made)]
        return made

    def _decrypted(self, plaintexts: Sequence[mpz]) -> None:
        drawn, self._drawn = self._drawn[: len(plaintexts)], self._drawn[len(plaintexts) :]
        if isinstance(drawn[0], Factor):  # S2 decrypts all of the left, then all of the right
            drawn = drawn[0::2] + drawn[1::2]
        for z, each in zip(map(int, plaintexts), drawn, strict=True):
            match each:
                case Masked():
                    self.sums.append(replace(each, seen=z))
                case Whole():
                    self.wholes.append(each._replace(seen=z))
                case Factor():
                    self.factors.append(each._replace(seen=z))

    def _evaluated(self, outputs: Mapping[str, Bits]) -> None:
        """Shapes tell which mask belongs to which of a circuit's outputs; of perfect ones, what S1 put in."""
        for name, made in outputs.items():
            found = [number for number, mask in enumerate(self._hidden) if mask.shape == made.shape]
            if found:
                mask = self._hidden.pop(found[0])
                pairs = zip(bits_to_integers(made), bits_to_integers(mask), strict=True)
                self.outputs += [Whole(z, m, len(made) - 1) for z, m in pairs]
            else:
                mask = from_bits(self._inputs[f"mask.{name}"])
                kept = self.flips if name in FLIPPED else self.shares
                kept.append(Hidden(name, from_bits(made), mask, len(made), self._drawn_bits(mask)))

    def _drawn_bits(self, mask: Words) -> int:
        """Of the draw that is this mask, which is then taken; 0 if there is none."""
        for number, (drawn, bits) in enumerate(self._uniform):
            if np.array_equal(drawn.reshape(-1), mask.reshape(-1)):
                del self._uniform[number]
                return bits
        return 0
