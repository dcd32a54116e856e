"""Integers to bundles of bits and back. Bit 0, the least significant, comes first along axis 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage
from twinveil.garbling.labels import Bools


def to_bits(values: npt.NDArray[Any], bits: int) -> Bools:
    """Low `bits` (1 to 64) bits of integers, two's complement: (*shape) -> bool (bits, *shape)."""
    if not 1 <= bits <= 64 or values.dtype.kind not in "iu":
        raise InvalidMessage("bits are taken from integers, 1 to 64 of them")
    signed = values.dtype.kind == "i"
    rest = values.astype(np.int64).view(np.uint64) if signed else values.astype(np.uint64)
    out = np.empty((bits, *values.shape), np.bool_)
    one = np.uint64(1)
    for bit in range(bits):
        out[bit] = (rest >> np.uint64(bit)) & one
    return out


def from_bits(bits: Bools) -> npt.NDArray[np.uint64]:
    """Unsigned integers of bits (n, *shape), n at most 64: uint64 (*shape)."""
    if bits.ndim < 1 or not 1 <= len(bits) <= 64:
        raise InvalidMessage("1 to 64 bits make an integer")
    out = np.zeros(bits.shape[1:], np.uint64)
    for place, bit in enumerate(bits):
        out |= bit.astype(np.uint64) << np.uint64(place)
    return out


def integers_to_bits(values: Sequence[int], bits: int) -> Bools:
    """Long integers in [0, 2^bits): bool (bits, len(values))."""
    size = (bits + 7) // 8
    if any(value < 0 or value.bit_length() > bits for value in values):
        raise InvalidMessage(f"a value does not fit {bits} bits")
    packed = np.frombuffer(b"".join(value.to_bytes(size, "little") for value in values), np.uint8)
    rows = np.unpackbits(packed.reshape(len(values), size), axis=1, count=bits, bitorder="little")
    return np.ascontiguousarray(rows.T).view(np.bool_)


def bits_to_integers(bits: Bools) -> list[int]:
    """Long unsigned integers of bits (n, count)."""
    packed = np.packbits(bits, axis=0, bitorder="little")
    return [int.from_bytes(column.tobytes(), "little") for column in packed.T]


def packed_bytes(count: int, bits: int) -> int:
    """Size of `count` words of exactly `bits` bits, one after the other."""
    return (count * bits + 7) // 8


def pack_words(values: npt.NDArray[np.uint64], bits: int) -> bytes:
    """The low `bits` (1 to 64) bits of each value, in C order, without a gap but at the end."""
    octets = np.ascontiguousarray(values, "<u8").reshape(-1, 1).view(np.uint8)
    return np.packbits(
        np.unpackbits(octets, axis=1, count=bits, bitorder="little"), bitorder="little"
    ).tobytes()


def unpack_words(packed: bytes, count: int, bits: int) -> npt.NDArray[np.uint64]:
    """The inverse of `pack_words`: uint64 (count,). Raises InvalidMessage if the size is not exact."""
    if len(packed) != packed_bytes(count, bits):
        raise InvalidMessage(
            f"{count} words of {bits} bits have {packed_bytes(count, bits)} bytes, not {len(packed)}"
        )
    each = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * bits, bitorder="little")
    octets = np.zeros((count, 8), np.uint8)
    octets[:, : (bits + 7) // 8] = np.packbits(each.reshape(count, bits), axis=1, bitorder="little")
    return octets.view("<u8")[:, 0].astype(np.uint64)


def modulo(values: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.uint64]:
    """The low `bits` (1 to 64) bits."""
    return values & np.uint64((1 << bits) - 1)
