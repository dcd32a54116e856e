"""The hash of half gates and of OT extension, over arrays of labels.

    H_k(x, i) = AES_k(sigma(x) xor i) xor sigma(x),    sigma(xL || xR) = (xL xor xR) || xL

sigma is a linear orthomorphism, so labels that differ by Delta enter and leave AES at differences that
nobody without Delta can relate (Guo, Katz, Wang, Yu: ePrint 2019/074, MMO with sigma). One AES
key for all gates would lose log2(gates) bits when many circuits are attacked at once; therefore every gate
call has the key k = S xor gate index with S fresh for each batch (Guo, Katz, Wang, Weng, Yu: ePrint
2019/1168, where the key carries the tweak). Within one key the tweak i separates the instances;
it is XORed after sigma. Two blocks under one key coincide only if two labels, which are uniform or differ
by 0 or by the secret Delta, differ by exactly sigma^-1(i xor i'): probability 2^-128 for each pair.

Byte order: xL is a label's first word, and i is XORed into the first word (little-endian) of the block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.labels import LABEL_BYTES, Bytes, Labels, Words, words

CHUNK = 4000
"""Instances worked on at a time: their blocks stay in the second-level cache. Not a power of two, or the
buffers' rows would lie a multiple of 4096 bytes apart, and every load would wait for another row's store."""

_SIZES_KEPT = 64

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


class Scratch:
    """Buffers for a chunk of `size` instances, `width` blocks each.

    blocks: input of AES, (width, size, 2); images: its output, same layout. tweaked: first words of the
    blocks that get the tweaks of their half, (2, size). mask_a, mask_b, fold: (size, 2).
    """

    __slots__ = ("_input", "_output", "blocks", "fold", "images", "mask_a", "mask_b", "tweaked", "tweaks")

    def __init__(self, workspace: Workspace, size: int) -> None:
        width = workspace.width
        used = LABEL_BYTES * width * size
        self._input = workspace.blocks[:used]
        self._output = workspace.images[: used + AES_SLACK]
        self.blocks: Words = self._input.view("<u8").reshape(width, size, 2)
        self.images: Words = self._output[:used].view("<u8").reshape(width, size, 2)
        self.tweaked = self.blocks[:: width // 2, :, 0]
        self.mask_a, self.mask_b, self.fold = (mask[:size] for mask in workspace.masks)
        self.tweaks = workspace.tweaks[:, :size]

    def encrypt(self, cipher: BlockCipher) -> None:
        """images = AES(blocks)"""
        cipher.encrypt(self._input, self._output)

    def tweak(self, first: int) -> None:
        """XOR the tweaks of instances `first` and following into their blocks."""
        self.tweaked ^= self.tweaks + np.uint64(2 * first) if first else self.tweaks


class Workspace:
    """Memory for the half gates of one chunk, and the views on it for chunks of each size."""

    __slots__ = ("_views", "blocks", "images", "masks", "tweaks", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.blocks: Bytes = np.empty(LABEL_BYTES * CHUNK * width, np.uint8)
        self.images: Bytes = np.empty(LABEL_BYTES * CHUNK * width + AES_SLACK, np.uint8)
        self.masks: Words = np.empty((3, CHUNK, 2), np.uint64)
        # Instance i has the tweaks 2i (garbler's half) and 2i + 1 (evaluator's half).
        self.tweaks = np.arange(2 * CHUNK, dtype=np.uint64).reshape(CHUNK, 2).T.copy()
        self._views: dict[int, Scratch] = {}

    def sized(self, size: int) -> Scratch:
        """Views for `size` <= CHUNK instances; a layer asks for the same few sizes again and again."""
        scratch = self._views.get(size)
        if scratch is None:
            if len(self._views) >= _SIZES_KEPT:
                self._views.clear()
            scratch = self._views[size] = Scratch(self, size)
        return scratch


def permute_mask(labels: Words, out: Words) -> None:
    """All ones where the permute bit of a label is 1, zero elsewhere; (n, 2)."""
    np.bitwise_and(labels[:, 0], np.uint64(1), out=out[:, 0])
    np.negative(out[:, 0], out=out[:, 0])
    out[:, 1] = out[:, 0]
