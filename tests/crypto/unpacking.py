"""Whole slots as integers, which no role wants: each reads low bits only."""

from __future__ import annotations

from collections.abc import Sequence

from gmpy2 import mpz


def unpack_wide(plaintexts: Sequence[mpz], slots: int, slot_bytes: int) -> list[list[int]]:
    """Every slot of every plaintext, whole."""
    mask = (1 << 8 * slot_bytes) - 1
    return [[int(plaintext) >> 8 * slot_bytes * at & mask for at in range(slots)] for plaintext in plaintexts]
