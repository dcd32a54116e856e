"""Writes down every mask that S1 draws and everything under a mask that S2 gets, and holds them together."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from gmpy2 import mpz

from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.slots import draw
from twinveil.garbling.ahead import EvaluatorHalf, GarblerHalf
from twinveil.garbling.bits import bits_to_integers, from_bits
from twinveil.garbling.ot_extension import ExtensionSender
from twinveil.garbling.products import PixelsGiven, PixelsHeld
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarblerSide
from twinveil.protocol.textbook.wide import Bits, random_bits
from twinveil.ring import Words, uniform
from twinveil.rpc import rounds_pb2 as pb


class Masked(NamedTuple):
    """A plaintext of slots that S2 saw: seen = value + mask modulo N, the mask drawn of `bits` bits."""

    seen: int
    mask: int
    bits: int


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
    """An output of a circuit under a perfect mask, value by value: seen = value - mask modulo 2^width, or
    value xor mask.

    bits: those of the mask as it was drawn; 0 if the circuit's mask is none that was drawn, or serves again.
    """

    name: str
    seen: Words
    mask: Words
    width: int
    bits: int


@dataclass
class Ledger:
    """What S2 decrypts, in its order, and circuits give out.

    sums: the packed engine's plaintexts; wholes: the textbook engine's, of clients and of values; factors: of
    its products. outputs: hidden statistically; shares, flips: hidden perfectly.
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
    _answered: list[Mapping[str, Words]] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("twinveil.protocol.packed.masking.draw", self._sheet)
        patch.setattr("twinveil.protocol.textbook.query.s1.uniform", self._words)
        for module in ("textbook.query", "textbook.model", "textbook"):
            patch.setattr(f"twinveil.protocol.{module}.s1.random_bits", partial(self._bits, module))
        patch.setattr("twinveil.protocol.textbook.s1.secrets", self)
        self._watch_circuits(patch)
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

    def _watch_circuits(self, patch: pytest.MonkeyPatch) -> None:
        """Of the packed engine: S1's masks of each circuit as it answers, S2's outputs as it opens it."""
        for given in (GarblerHalf, PixelsGiven):
            patch.setattr(given, "answer", self._answering(given.answer))
        for held in (EvaluatorHalf, PixelsHeld):
            patch.setattr(held, "open", self._opening(held.open))

    def _answering(self, answer: Callable[..., bytes]) -> Callable[..., bytes]:
        def answering(half: GarblerHalf | PixelsGiven, masked: Mapping[str, Words]) -> bytes:
            self._answered.append({name: mask.copy() for name, mask in half.masks.items()})
            return answer(half, masked)

        return answering

    def _opening(self, opened: Callable[..., dict[str, Words]]) -> Callable[..., dict[str, Words]]:
        def opening(half: EvaluatorHalf | PixelsHeld, answer: bytes) -> dict[str, Words]:
            outputs, masks = opened(half, answer), self._answered.pop(0)
            widths = (
                {half._pixels.name: half._pixels.width}
                if isinstance(half, PixelsHeld)
                else half._circuit.widths
            )
            for name, seen in outputs.items():
                if name in widths:
                    self.shares.append(Hidden(name, seen.copy(), masks[name], widths[name], widths[name]))
                else:
                    bits = dict(half._circuit.counts.outputs)[name][0]
                    self.flips.append(Hidden(name, seen.copy(), masks[name], bits, bits))
            return outputs

        return opening

    def settled(self) -> bool:
        """Every mask that was drawn met its plaintext or its output."""
        return not self._drawn and not self._hidden and not self._uniform and not self._answered

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

    def _sheet(self, count: int, bits: int) -> list[mpz]:
        made = draw(count, bits)
        self._drawn += [Masked(0, int(mask), bits) for mask in made]
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
                    self.sums.append(each._replace(seen=z))
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
                self.flips.append(Hidden(name, from_bits(made), mask, len(made), self._drawn_bits(mask)))

    def _drawn_bits(self, mask: Words) -> int:
        """Of the draw that is this mask, which is then taken; 0 if there is none."""
        for number, (drawn, bits) in enumerate(self._uniform):
            if np.array_equal(drawn.reshape(-1), mask.reshape(-1)):
                del self._uniform[number]
                return bits
        return 0
