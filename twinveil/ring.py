"""Integers modulo 2^L, L at most 64, as everybody who holds shares has them: uint64 arrays.

Arithmetic on them wraps modulo 2^64 and is reduced at the end, which is exact because 2^L divides 2^64. On
the wire a value takes exactly L bits.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage

Words = npt.NDArray[np.uint64]


def modulo(values: Words, bits: int) -> Words:
    """The low `bits` (1 to 64) bits."""
    return values & np.uint64((1 << bits) - 1)


def negate(values: Words, bits: int) -> Words:
    return modulo(np.uint64(0) - values, bits)


def signed(values: Words, bits: int) -> npt.NDArray[np.int64]:
    """The representative in [-2^(bits-1), 2^(bits-1)), bits at most 63."""
    low = modulo(values, bits).astype(np.int64)
    return low - ((low >> (bits - 1)) << bits)


def uniform(shape: tuple[int, ...], bits: int) -> Words:
    """Fresh uniform values below 2^bits, from the operating system."""
    count = int(np.prod(shape, dtype=np.int64))
    return modulo(np.frombuffer(os.urandom(8 * count), np.uint64).reshape(shape), bits)


def packed_bytes(count: int, bits: int) -> int:
    """Size of `count` words of exactly `bits` bits, one after the other."""
    return (count * bits + 7) // 8


def pack_words(values: Words, bits: int) -> bytes:
    """The low `bits` (1 to 64) bits of each value, in C order, without a gap but at the end."""
    octets = np.ascontiguousarray(values, "<u8").reshape(-1, 1).view(np.uint8)
    return np.packbits(
        np.unpackbits(octets, axis=1, count=bits, bitorder="little"), bitorder="little"
    ).tobytes()


def unpack_words(packed: bytes, count: int, bits: int) -> Words:
    """The inverse of `pack_words`: uint64 (count,). Raises InvalidMessage if the size is not exact."""
    if len(packed) != packed_bytes(count, bits):
        raise InvalidMessage(
            f"{count} words of {bits} bits have {packed_bytes(count, bits)} bytes, not {len(packed)}"
        )
    each = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * bits, bitorder="little")
    octets = np.zeros((count, 8), np.uint8)
    octets[:, : (bits + 7) // 8] = np.packbits(each.reshape(count, bits), axis=1, bitorder="little")
    return octets.view("<u8")[:, 0].astype(np.uint64)
