"""The hash of half gates and of OT extension, over arrays of labels.

    H_k(x, i) = AES_k(sigma(x) xor i) xor sigma(x),    sigma(xL || xR) = (xL xor xR) || xL

sigma is a linear orthomorphism, so labels that differ by Delta enter and leave AES at differences that
nobody without Delta can relate (Guo, Katz, Wang, Yu: ePrint 2019/074, section 7.3, MMO with sigma). One AES
key for all gates would lose log2(gates) bits when many circuits are attacked at once; therefore every gate
call has the key k = S xor gate index with S fresh for each batch (Guo, Katz, Wang, Weng, Yu: ePrint
2019/1168, section 4, where the key carries the tweak). Within one key the tweak i separates the instances;
it is XORed after sigma. Two blocks under one key coincide only if two labels, which are uniform or differ
by 0 or by the secret Delta, differ by exactly sigma^-1(i xor i'): probability 2^-128 for each pair.

Byte order: xL is a label's first word, and i is XORed into the first word (little-endian) of the block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.labels import LABEL_BYTES, Bytes, Labels, Words, words

CHUNK = 2048
"""Instances worked on at a time: their blocks stay in the second-level cache."""

AES_SLACK = LABEL_BYTES - 1
"""`update_into` wants this many bytes more than it writes."""


def sigma(labels: Words, out: Words) -> None:
    """out = sigma(labels), both (n, 2), not overlapping."""
    np.bitwise_xor(labels[:, 0], labels[:, 1], out=out[:, 0])
    out[:, 1] = labels[:, 0]


class BlockCipher:
    """AES-ECB under one key over word buffers."""

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        # ECB is the bare block cipher here; the mode of operation is the hash above.
        self._encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305

    def encrypt(self, blocks: Bytes, out: Bytes) -> None:
        """Encrypt contiguous bytes into `out`, which has AES_SLACK bytes to spare."""
        self._encryptor.update_into(blocks.data, out.data)


def gate_key(start_point: bytes, gate: int) -> bytes:
    """AES key of gate call number `gate`: S xor gate, 16 bytes."""
    key = int.from_bytes(start_point, "little") ^ gate
    return key.to_bytes(LABEL_BYTES, "little")


def hash_labels(key: bytes, labels: Labels, tweaks: npt.NDArray[np.uint64]) -> Words:
    """H_k(label, tweak) for labels and tweaks of equal count; (n, 2) words."""
    cipher = BlockCipher(key)
    source = words(labels)
    result = np.empty_like(source)
    blocks = np.empty(LABEL_BYTES * CHUNK, np.uint8)
    images = np.empty(LABEL_BYTES * CHUNK + AES_SLACK, np.uint8)
    for start in range(0, len(source), CHUNK):
        part = source[start : start + CHUNK]
        size = LABEL_BYTES * len(part)
        block = blocks[:size].view("<u8").reshape(-1, 2)
        target = result[start : start + CHUNK]
        sigma(part, target)
        block[:, 1] = target[:, 1]
        np.bitwise_xor(target[:, 0], tweaks[start : start + CHUNK], out=block[:, 0])
        cipher.encrypt(blocks[:size], images)
        target ^= images[:size].view("<u8").reshape(-1, 2)
    return result


class Workspace:
    """Buffers for one gate call at a time: `halves` blocks an instance, chunk by chunk."""

    __slots__ = ("_blocks", "_images", "_masks", "_tweaks", "_width")

    def __init__(self, blocks_per_instance: int) -> None:
        self._width = blocks_per_instance
        self._blocks = np.empty(LABEL_BYTES * CHUNK * blocks_per_instance, np.uint8)
        self._images = np.empty(LABEL_BYTES * CHUNK * blocks_per_instance + AES_SLACK, np.uint8)
        self._masks = np.empty((3, CHUNK, 2), np.uint64)
        # Instance i has the tweaks 2i (garbler's half) and 2i + 1 (evaluator's half).
        self._tweaks = np.arange(2 * CHUNK, dtype=np.uint64).reshape(CHUNK, 2).T.copy()

    def blocks(self, count: int) -> Words:
        """Input of AES, (blocks_per_instance, count, 2)."""
        flat = self._blocks[: LABEL_BYTES * count * self._width]
        return flat.view("<u8").reshape(self._width, count, 2)

    def encrypt(self, cipher: BlockCipher, count: int) -> Words:
        """Images of `blocks(count)` in the same layout."""
        size = LABEL_BYTES * count * self._width
        cipher.encrypt(self._blocks[:size], self._images)
        return self._images[:size].view("<u8").reshape(self._width, count, 2)

    def masks(self, count: int) -> tuple[Words, Words, Words]:
        """Three scratch arrays (count, 2)."""
        return self._masks[0, :count], self._masks[1, :count], self._masks[2, :count]

    def tweaks(self, start: int, count: int) -> npt.NDArray[np.uint64]:
        """Tweaks of instances start to start + count, (2, count)."""
        return self._tweaks[:, :count] + np.uint64(2 * start)


def permute_mask(labels: Words, out: Words) -> None:
    """All ones where the permute bit of a label is 1, zero elsewhere; (n, 2)."""
    np.bitwise_and(labels[:, 0], np.uint64(1), out=out[:, 0])
    np.negative(out[:, 0], out=out[:, 0])
    out[:, 1] = out[:, 0]
