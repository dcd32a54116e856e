"""From ciphertexts that S1 has to both clouds' shares modulo 2^L of what is in them, slot by slot.

The arithmetic is in crypto/slots.py.

    S1         s, one mask a plaintext; its choices a are the top bits of s's digits
    S1 -> S2   E(P + s), corrections of a
    S2         z = P + s, b = no top bit in z's digit;  shares the products a b by transfers
    S1 <- S2   one word of L bits a product

S1 chooses in these transfers, as it knows its bits before S2 knows its own, so that one message each way is
enough. Nothing depends on what S2 decrypts: any z has digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.slots import (
    Bools,
    Digits,
    Slots,
    borrows_wanted,
    cut,
    draw,
    mask_share,
    masked_share,
)
from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender, correction_bytes
from twinveil.garbling.products import HeldBits, multiply
from twinveil.protocol.packed.geometry import Index
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words, modulo, packed_bytes


@dataclass(frozen=True)
class Sheet:
    """Plaintexts that are laid out and masked alike.

    ring: L of the shares. mask_bits: width of a mask. outputs: (plaintexts, slots), which of `values` values
    sits where. offset: public, what the value in a slot is more than the value meant.
    """

    slots: Slots
    ring: int
    mask_bits: int
    outputs: Index
    values: int
    offset: int = 0

    @cached_property
    def wanted(self) -> Bools:
        """(plaintexts, slots): where a borrow is shared."""
        return borrows_wanted(self.outputs > 0, self.slots, self.ring)

    @cached_property
    def transfers(self) -> int:
        return int(self.wanted.sum())

    @property
    def word_bytes(self) -> int:
        return packed_bytes(self.transfers, self.ring)

    def borrows(self, shares: Words) -> Words:
        """One party's shares of the borrows, in their slots."""
        placed = np.zeros(self.wanted.shape, np.uint64)
        placed[self.wanted] = shares
        return placed

    def values_of(self, slots: Words) -> Words:
        """(plaintexts, slots) -> (values,)."""
        found = np.zeros(self.values + 1, np.uint64)
        found[self.outputs] = slots
        return found[1:]


class Masks(SingleUse):
    """S1's masks of some sheets, drawn here; S2's words come in once.

    s: for the plaintexts of all sheets in a row. extension, corrections: of S1's choices, for S2.
    """

    def __init__(self, sheets: Sequence[Sheet], transfers: ExtensionReceiver) -> None:
        count = _transfers(sheets)
        self.extension = transfers.prepare(count) if count else b""
        self.s: list[mpz] = []
        self.corrections = b""
        self._open: list[tuple[Sheet, Digits, HeldBits]] | None = []
        for sheet in sheets:
            masks = draw(len(sheet.outputs), sheet.mask_bits)
            self.s += masks
            digits = cut(masks, sheet.slots)
            held = HeldBits(transfers, digits.top[sheet.wanted], sheet.ring)
            self.corrections += held.corrections
            self._open.append((sheet, digits, held))

    def open(self, words: bytes) -> list[Words]:
        """S1's shares of the values of each sheet. Once; InvalidMessage if the size is not exact."""
        if self._open is None:
            raise AlreadyUsed("these masks have become shares already")
        opened, self._open = self._open, None
        sizes = [sheet.word_bytes for sheet, _, _ in opened]
        made = []
        for (sheet, digits, held), part in zip(opened, _parts(words, sizes), strict=True):
            slots = mask_share(digits, sheet.borrows(held.open(part)), sheet.slots, sheet.ring)
            made.append(sheet.values_of(slots))
        return made


def accept(
    sheets: Sequence[Sheet], transfers: ExtensionSender, extension: bytes, corrections: bytes
) -> list[bytes]:
    """S2, before it decrypts: takes S1's extension; the corrections of each sheet.

    Raises InvalidMessage if a size is not exact.
    """
    parts = _parts(corrections, [correction_bytes(sheet.transfers) for sheet in sheets])
    if count := _transfers(sheets):
        transfers.accept(extension, count)
    elif extension:
        raise InvalidMessage(f"no transfers are wanted, and {len(extension)} bytes of an extension came")
    return parts


def share(
    sheets: Sequence[Sheet],
    plaintexts: Sequence[mpz],
    transfers: ExtensionSender,
    corrections: Sequence[bytes],
) -> tuple[bytes, list[Words]]:
    """S2's words for S1, and its shares of the values of each sheet, from what it decrypted.

    corrections: of each sheet, as `accept` gave them.
    """
    words, made, start = b"", [], 0
    for sheet, part in zip(sheets, corrections, strict=True):
        digits = cut(plaintexts[start : start + len(sheet.outputs)], sheet.slots)
        start += len(sheet.outputs)
        sent, products = multiply(transfers, ~digits.top[sheet.wanted], part, sheet.ring)
        words += sent
        slots = masked_share(digits, sheet.borrows(products), sheet.slots, sheet.ring)
        made.append(modulo(sheet.values_of(slots) - np.uint64(sheet.offset), sheet.ring))
    return words, made


def _transfers(sheets: Sequence[Sheet]) -> int:
    return sum(sheet.transfers for sheet in sheets)


def _parts(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    if len(data) != sum(sizes):
        raise InvalidMessage(f"{sum(sizes)} bytes of words or corrections are due, not {len(data)}")
    ends = np.cumsum(sizes)
    return [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]
