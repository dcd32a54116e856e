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


def bit_weights(shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """2^i of each bit of integers of bits (n, *batch), to broadcast over the batch: (n, 1, ...)."""
    return (np.uint64(1) << np.arange(shape[0], dtype=np.uint64)).reshape(-1, *[1] * (len(shape) - 1))


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
