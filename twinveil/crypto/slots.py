"""Slots without slack: many sums in one plaintext under one mask, and each sum as two shares modulo 2^L.

    P = sum over every slot j of v_j 2^(bits j),   0 <= v_j < 2^(bits - 1): the top bit of a slot is spare
    z = P + s,   s one uniform integer below 2^k,   k = bits(P) + sigma + ceil(log2(plaintexts masked))

One holds s, the other z, and both cut the digits of theirs, s_j and z_j, out of it. Where s is added, slot j
carries into the next exactly if s_j + v_j + carry in reaches 2^bits. As v_j stays below half of that, it does
so iff s_j has its top bit and z_j has not: one bit of each party, whose product they share by an oblivious
transfer (`garbling.products`). With `borrow` that product,

    v_j = z_j - s_j - borrow_(j-1) + 2^bits borrow_j

and the last term counts only in slots narrower than the shares. A slot that nobody reads has to keep its
spare bit all the same, or its neighbour is off by one. The mask reaches above the top slot by sigma bits and
more, or the top slot could be guessed. Cutting is total: whatever z is, it has digits.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.ring import Words, modulo

Bools = NDArray[np.bool_]
LIMB = 64
_ONE, _REST = np.uint64(1), np.uint64(LIMB - 1)
"""Shifting by LIMB - n is shifting by one and by _REST - n: n may be 0, and words are not shifted by LIMB."""


@dataclass(frozen=True, slots=True)
class Slots:
    """`count` slots of `bits` bits in a plaintext, the spare bit included."""

    bits: int
    count: int

    @property
    def plaintext_bits(self) -> int:
        """bits(P), the top slot's spare bit left out."""
        return self.bits * self.count - 1

    def mask_bits(self, margin: int) -> int:
        """k, for a margin of sigma + ceil(log2(plaintexts masked))."""
        return self.plaintext_bits + margin


def most_slots(bits: int, key_bits: int, margin: int) -> int:
    """How many slots of `bits` bits leave k <= |N| - 2, so that P + s stays below N; 0 if none does."""
    return max(0, (key_bits - 2 - margin + 1) // bits)


def pack(values: Words, bits: int) -> list[mpz]:
    """sum_j values[i, j] 2^(bits j) for every row i of `values` (plaintexts, slots).

    Raises ValueError if a value does not fit below its slot's spare bit.
    """
    if int(values.max(initial=0)).bit_length() >= bits:
        raise ValueError(f"a value does not fit a slot of {bits} bits, the top one spare")
    rows, slots = values.shape
    limbs = np.zeros((rows, _limbs(bits, slots)), "<u8")
    at, shift = _begin(bits * np.arange(slots))
    apart = max(1, -(-LIMB // bits))  # so many slots further on, another limb is begun
    for first in range(apart):
        part = slice(first, None, apart)
        limbs[:, at[part]] |= values[:, part] << shift[part]
        limbs[:, at[part] + 1] |= values[:, part] >> _ONE >> (_REST - shift[part])
    data, size = limbs.tobytes(), limbs.shape[1] * LIMB // 8
    return [mpz.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]


def draw(count: int, bits: int) -> list[mpz]:
    """`count` masks, uniform below 2^bits."""
    return [mpz(secrets.randbits(bits)) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Digits:
    """One party's digits (plaintexts, slots): the low 64 bits of each, and the top one."""

    low: Words
    top: Bools


def cut(integers: Sequence[mpz], slots: Slots) -> Digits:
    """The digits of non-negative integers of any size; what lies above the top slot is left out."""
    size = _limbs(slots.bits, slots.count)
    kept = (mpz(1) << (slots.bits * slots.count)) - 1
    data = b"".join([(integer & kept).to_bytes(size * LIMB // 8, "little") for integer in integers])
    limbs = np.frombuffer(data, "<u8").reshape(len(integers), size)
    begins = slots.bits * np.arange(slots.count)
    at, shift = _begin(begins)
    low = (limbs[:, at] >> shift) | (limbs[:, at + 1] << _ONE << (_REST - shift))
    at, shift = _begin(begins + slots.bits - 1)
    top = (limbs[:, at] >> shift) & _ONE
    return Digits(modulo(low, min(slots.bits, LIMB)), top.astype(np.bool_))


def _limbs(bits: int, slots: int) -> int:
    """Of a plaintext, and one more, so that each has a next."""
    return -(-bits * slots // LIMB) + 1


def _begin(bits: NDArray[np.int64]) -> tuple[NDArray[np.int64], Words]:
    """In which limb such bits are, and where in it."""
    at, shift = np.divmod(bits, LIMB)
    return at, shift.astype(np.uint64)


def borrows_wanted(read: Bools, slots: Slots, ring: int) -> Bools:
    """Where a borrow has to be shared. read: (plaintexts, slots), the slots whose values anybody reads."""
    wanted = np.zeros_like(read)
    wanted[:, :-1] = read[:, 1:]
    return wanted | read if slots.bits < ring else wanted


def masked_share(digits: Digits, borrows: Words, slots: Slots, ring: int) -> Words:
    """The share modulo 2^ring of who holds z: (plaintexts, slots), true where slots are read.

    borrows: this party's shares of the borrows that are wanted, anything elsewhere.
    """
    return modulo(digits.low + _carried(borrows, slots, ring), ring)


def mask_share(digits: Digits, borrows: Words, slots: Slots, ring: int) -> Words:
    """The share of who holds s, likewise."""
    return modulo(_carried(borrows, slots, ring) - digits.low, ring)


def _carried(borrows: Words, slots: Slots, ring: int) -> Words:
    carried = np.zeros_like(borrows)
    carried[:, 1:] -= borrows[:, :-1]
    return carried + (borrows << np.uint64(slots.bits)) if slots.bits < ring else carried
