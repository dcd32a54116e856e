"""An answer in two halves, one from each cloud: how a cloud writes its own, how the user joins them.

A vector's half is one unsigned 32-bit big-endian word for each class of each picture, a label's one for each
picture. vector: S2's half is (c + s) mod 2^L, S1's is s mod 2^L; label: index xor m, and m. Either half alone
is uniform.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage
from twinveil.network.plan import Plan

WORD_BYTES = 4


def answer_half(words: npt.NDArray[np.unsignedinteger]) -> bytes:
    """A cloud's end: (classes, pictures) or (1, pictures) -> wire form, picture by picture."""
    return words.T.astype(">u4").tobytes()


def class_vectors(s1_half: bytes, s2_half: bytes, plan: Plan, pictures: int) -> npt.NDArray[np.int64]:
    """The user's end: (pictures, classes) signed integers, in units of 2^-plan.fraction_bits."""
    dense = plan.output
    masked, masks = (_words(half, pictures, dense.out_features) for half in (s2_half, s1_half))
    bits = dense.accumulator_bits
    low = (masked - masks) & ((1 << bits) - 1)
    return low - ((low >> (bits - 1)) << bits)


def labels(s1_half: bytes, s2_half: bytes, plan: Plan, pictures: int) -> npt.NDArray[np.int64]:
    """The user's end: (pictures,) class indices."""
    index: npt.NDArray[np.int64] = (_words(s2_half, pictures, 1) ^ _words(s1_half, pictures, 1))[:, 0]
    if (index >= plan.output.out_features).any():
        raise InvalidMessage("the two halves of the answer do not belong together: ask again")
    return index


def _words(half: bytes, pictures: int, width: int) -> npt.NDArray[np.int64]:
    if len(half) != pictures * width * WORD_BYTES:
        raise InvalidMessage(
            f"an answer's half has {len(half)} bytes where {pictures * width * WORD_BYTES} are due"
        )
    return np.frombuffer(half, ">u4").astype(np.int64).reshape(pictures, width)
