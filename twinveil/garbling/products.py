"""Correlated transfers of words of L bits: a product of two parties' bits, and pixels, as additive shares.

One random transfer each, cut to L bits: the sender has m_0, m_1, the receiver a random c and m_c.

A product a b, a being the sender's bit and b the receiver's (who is who is the caller's affair):

    receiver -> sender   d = b xor c
    sender -> receiver   word = m_(1-d) - m_d - a                                 mod 2^L
    shares               - m_d, and m_c, less the word where b = 1: m_d + a b

A picture that only linear layers read needs no gate. S1 is the sender. With rho = c drawn ahead, x_i = mu_i
xor rho_i, mu being the masked picture that S1 knows online, and r drawn by S1 ahead, all modulo 2^L:

    S1 -> S2   word_i = m_1 - m_0 - 2^i (1 - 2 mu_i)    a bit,    and   mu - sum m_0 - r   a pixel
    S2         sum of m_c, less the word where rho_i = 1, plus the pixel's word
               = sum m_0 + sum rho_i 2^i (1 - 2 mu_i)  +  mu - sum m_0 - r  =  x - r

A word hides what it carries: m_(1-c) is uniform to S2, and the pixel's word is under r. For pixels of 8 bits
these are 9 words of L bits online, where a circuit sends 8 labels of 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NoReturn

import numpy as np

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.ahead import Offer
from twinveil.garbling.bits import bit_weights, from_bits, to_bits
from twinveil.garbling.labels import Bools, Labels, words
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender, correction_bytes
from twinveil.garbling.outputs import Integers
from twinveil.ring import modulo, pack_words, packed_bytes, uniform, unpack_words


def multiply(
    transfers: ExtensionSender, bits: Bools, corrections: bytes, width: int
) -> tuple[bytes, Integers]:
    """The sender, with its bits (n,): words for the receiver, and its shares of the products (n,).

    Shares are modulo 2^width. Takes the next n transfers. Raises InvalidMessage, and takes none, if the
    corrections' size is not exact.
    """
    count = len(bits)
    if bits.shape != (count,) or bits.dtype != np.bool_:
        raise InvalidMessage("factors must be one row of bool")
    if len(corrections) != correction_bytes(count):
        raise InvalidMessage(f"{count} corrections have {correction_bytes(count)} bytes")
    swapped = np.unpackbits(np.frombuffer(corrections, np.uint8), count=count, bitorder="little")
    pads = _cut(transfers.take(count))
    known, other = pads[np.arange(count), swapped], pads[np.arange(count), swapped ^ 1]
    return pack_words(other - known - bits, width), modulo(np.uint64(0) - known, width)


class HeldBits:
    """The receiver's factors (n,), which take the next n transfers.

    `corrections` go to the sender, whose words come in once.
    """

    def __init__(self, transfers: ExtensionReceiver, bits: Bools, width: int) -> None:
        if bits.ndim != 1 or bits.dtype != np.bool_:
            raise InvalidMessage("factors must be one row of bool")
        choices, pads = transfers.take(len(bits))
        self.corrections = np.packbits(bits ^ choices, bitorder="little").tobytes()
        self._bits, self._width = bits.copy(), width
        self._pads: Integers | None = _cut(pads)

    def __repr__(self) -> str:
        return "HeldBits(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("transfers are used once: they are neither pickled nor copied")

    def open(self, received: bytes) -> Integers:
        """The receiver's shares of the products modulo 2^width: (n,). Once."""
        if self._pads is None:
            raise AlreadyUsed("these products are already opened")
        pads, self._pads = self._pads, None
        return modulo(pads - unpack_words(received, len(pads), self._width) * self._bits, self._width)


class Pixels:
    """A picture that only linear layers read; stands where a `Circuit` stands, its offer being empty.

    name: of the one input and output. shape: (bits, *batch); width: L.
    """

    def __init__(self, name: str, shape: tuple[int, ...], width: int) -> None:
        self.name = name
        self.shape = shape
        self.width = width

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        return {self.name: self.shape}

    @property
    def transfers(self) -> int:
        return prod(self.shape)

    @property
    def offer_bytes(self) -> tuple[int, int, int]:
        return (0, 0, 0)

    @property
    def answer_bytes(self) -> int:
        """A word a bit, then a word a pixel; either begins at a whole byte."""
        return packed_bytes(prod(self.shape), self.width) + packed_bytes(prod(self.shape[1:]), self.width)

    def garble(self, transfers: ExtensionSender) -> PixelsGiven:
        return PixelsGiven(self, transfers)

    def hold(self, offer: Offer, transfers: ExtensionReceiver) -> PixelsHeld:
        if any(offer):
            raise InvalidMessage("pixels without a circuit come with an empty offer")
        return PixelsHeld(self, transfers)


class PixelsGiven:
    """S1's half. masks: r, drawn here; answers once."""

    def __init__(self, pixels: Pixels, transfers: ExtensionSender) -> None:
        pads = _cut(transfers.take(pixels.transfers)).reshape(*pixels.shape, 2)
        self.masks = {pixels.name: uniform(pixels.shape[1:], pixels.width)}
        self._pixels = pixels
        self._pads: Integers | None = pads

    def __repr__(self) -> str:
        return "PixelsGiven(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("transfers are used once: they are neither pickled nor copied")

    def offer(self) -> Offer:
        """Empty: nothing of pixels goes ahead but the transfers."""
        return Offer(b"", b"", b"")

    def answer(self, masked: Mapping[str, Integers]) -> bytes:
        """Words for the masked picture mu = x xor rho, (*batch). Once."""
        pixels = self._pixels
        if self._pads is None:
            raise AlreadyUsed("the words of these pixels are already out")
        if set(masked) != {pixels.name} or masked[pixels.name].shape != pixels.shape[1:]:
            raise InvalidMessage(f"these pixels want the input {pixels.name} of its shape")
        pads, self._pads = self._pads, None
        mu = masked[pixels.name]
        weights = bit_weights(pixels.shape)
        signed = weights - 2 * weights * to_bits(mu, pixels.shape[0])
        own = mu - pads[..., 0].sum(axis=0) - self.masks[pixels.name]
        return pack_words(pads[..., 1] - pads[..., 0] - signed, pixels.width) + pack_words(own, pixels.width)


class PixelsHeld:
    """S2's half. drawn: rho; opens once."""

    def __init__(self, pixels: Pixels, transfers: ExtensionReceiver) -> None:
        choices, pads = transfers.take(pixels.transfers)
        self._choices = choices.reshape(pixels.shape)
        self.drawn = {pixels.name: from_bits(self._choices)}
        self._pixels = pixels
        self._pads: Integers | None = _cut(pads).reshape(pixels.shape)

    def __repr__(self) -> str:
        return "PixelsHeld(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("transfers are used once: they are neither pickled nor copied")

    def open(self, answer: bytes) -> dict[str, Integers]:
        """x - r modulo 2^L, by the one name: (*batch). Once."""
        if self._pads is None:
            raise AlreadyUsed("these pixels are already opened")
        pads, self._pads = self._pads, None
        pixels = self._pixels
        if len(answer) != pixels.answer_bytes:
            raise InvalidMessage(f"an answer has {len(answer)} bytes instead of {pixels.answer_bytes}")
        middle = packed_bytes(prod(pixels.shape), pixels.width)
        received = unpack_words(answer[:middle], prod(pixels.shape), pixels.width).reshape(pixels.shape)
        own = unpack_words(answer[middle:], prod(pixels.shape[1:]), pixels.width).reshape(pixels.shape[1:])
        total = (pads - received * self._choices).sum(axis=0) + own
        return {pixels.name: modulo(total, pixels.width)}


def _cut(pads: Labels) -> Integers:
    """Of each pad the low 64 bits, of which words are cut."""
    return np.ascontiguousarray(words(pads)[:, 0]).reshape(pads.shape)
