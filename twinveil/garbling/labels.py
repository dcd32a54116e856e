"""Wire labels as arrays: 16 opaque bytes an element, XORed as pairs of 64-bit words.

The dtype is `V16`, so numpy moves whole labels when wires are sliced, gathered or joined, and refuses
arithmetic on them. Word 0 is the first 8 bytes, little-endian; its lowest bit is the permute bit.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

LABEL = np.dtype("V16")
LABEL_BYTES = 16
_WORD = np.dtype("<u8")

_ZEROS = bytes(1 << 16)
_ONE = np.uint8(1)

Labels = npt.NDArray[Any]
"""Array of any shape and dtype LABEL."""
Words = npt.NDArray[np.uint64]
"""Array (n, 2): n labels of two little-endian words."""
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def words(labels: Labels) -> Words:
    """Labels of any shape as (n, 2) words in C order; shares memory where `labels` is contiguous."""
    return np.ascontiguousarray(labels).view(_WORD).reshape(-1, 2)


def random_labels(count: int) -> Labels:
    """`count` random labels: AES-CTR under a key that the operating system draws for this call alone."""
    out = np.empty(LABEL_BYTES * count + LABEL_BYTES - 1, np.uint8)
    seed = os.urandom(2 * LABEL_BYTES)
    stream = Cipher(algorithms.AES(seed[:LABEL_BYTES]), modes.CTR(seed[LABEL_BYTES:])).encryptor()
    for start in range(0, LABEL_BYTES * count, len(_ZEROS)):
        stream.update_into(_ZEROS[: LABEL_BYTES * count - start], out[start:].data)
    return out[: LABEL_BYTES * count].view(LABEL)


def align(a: Labels, b: Labels) -> tuple[Labels, Labels]:
    """Both arrays broadcast to one shape."""
    if a.shape == b.shape:
        return a, b
    shape = np.broadcast(a, b).shape
    return _spread(a, shape), _spread(b, shape)


def _spread(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """np.broadcast_to, a copy: it would be copied anyway, and a view takes longer to make."""
    if labels.shape == shape:
        return labels
    out = np.empty(shape, LABEL)
    out[...] = labels
    return out


def xor_labels(a: Labels, b: Labels) -> Labels:
    """Elementwise XOR with broadcasting."""
    a, b = (np.ascontiguousarray(each).view(_WORD) for each in align(a, b))
    return np.bitwise_xor(a, b).view(LABEL)


def xor_where(labels: Labels, offset: Words, bits: Bools) -> Labels:
    """Label XOR `offset` (shape (2,)) where the bit of the same shape is 1, the label elsewhere."""
    out = np.empty(labels.shape, LABEL)
    source, target, chosen = words(labels), words(out), bits.reshape(-1).astype(np.uint64)
    for word in (0, 1):
        np.bitwise_xor(source[:, word], chosen * offset[word], out=target[:, word])
    return out


def xor_all(labels: Labels, offset: Words) -> Labels:
    """Every label XOR `offset` (shape (2,))."""
    out = np.empty(labels.shape, LABEL)
    source, target = words(labels), words(out)
    for word in (0, 1):
        np.bitwise_xor(source[:, word], offset[word], out=target[:, word])
    return out


def colours(labels: Words) -> Bools:
    """Lowest bit of every label: (n, 2), contiguous -> bool (n,)."""
    return (labels.view(np.uint8)[:, 0] & _ONE).view(np.bool_)


def permute_bits(labels: Labels) -> Bools:
    """Lowest bit of every label, flat, bool."""
    return colours(words(labels))
