"""Bits as signed integers, which no role reads from a circuit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinveil.garbling.bits import Bools, from_bits


def from_signed_bits(bits: Bools) -> npt.NDArray[np.int64]:
    """Two's complement integers of bits (n, *shape), n at most 64: int64 (*shape)."""
    spare = np.int64(64 - len(bits))
    return (from_bits(bits).view(np.int64) << spare) >> spare
