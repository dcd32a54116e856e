"""Writes down every mask that S1 draws and every plaintext that S2 decrypts, and holds them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from gmpy2 import mpz

from twinveil.crypto.packing import draw_masks, unpack_wide
from twinveil.crypto.secret_key import SecretKey
from twinveil.garbling.bits import bits_to_integers
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.wide import Bits, random_bits


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
        (masks,) = unpack_wide([mpz(self.mask)], self.slots, self.slot_bytes)
        if not all(self.offset <= mask < self.offset + (1 << self.mask_bits) for mask in masks):
            raise ValueError("a mask is not of the planned bits")
        return [z - s for z, s in zip(seen, masks, strict=True)]


@dataclass
class Ledger:
    """sums: packed sums, in the order in which S2 decrypts them. wholes: (z, mask, mask bits) of imports."""

    sums: list[Masked] = field(default_factory=list)
    wholes: list[tuple[int, int, int]] = field(default_factory=list)
    _drawn: list[Masked | tuple[int, int]] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        decrypt = SecretKey.decrypt

        def drawing(count: int, slots: int, slot_bytes: int, mask_bits: int, offset: int) -> object:
            made = draw_masks(count, slots, slot_bytes, mask_bits, offset)
            self._drawn += [Masked(0, int(m), slots, slot_bytes, mask_bits, offset) for m in made[0]]
            return made

        def bits(width: int, count: int, top: int = 0) -> Bits:
            made = random_bits(width, count, top)
            if not top:
                self._drawn += [(int(m), width) for m in bits_to_integers(made)]
            return made

        def decrypting(key: SecretKey, values: Sequence[mpz], workers: Workers = INLINE) -> list[mpz]:
            plaintexts = decrypt(key, values, workers)
            for z in plaintexts:
                drawn = self._drawn.pop(0)
                if isinstance(drawn, Masked):
                    rest = (drawn.slots, drawn.slot_bytes, drawn.mask_bits, drawn.offset)
                    self.sums.append(Masked(int(z), drawn.mask, *rest))
                else:
                    self.wholes.append((int(z), *drawn))
            return plaintexts

        patch.setattr("twinveil.protocol.packed.s1.draw_masks", drawing)
        patch.setattr("twinveil.protocol.query.s1.random_bits", bits)
        patch.setattr("twinveil.protocol.model.s1.random_bits", bits)
        patch.setattr(SecretKey, "decrypt", decrypting)

    def settled(self) -> bool:
        """Every mask that was drawn met its plaintext."""
        return not self._drawn
