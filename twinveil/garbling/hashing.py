"""The hash of half gates and of OT extension, over arrays of labels.

    H_k(x, i) = AES_k(sigma(x) xor i) xor sigma(x),    sigma(xL || xR) = (xL xor xR) || xL

sigma is a linear orthomorphism, so labels that differ by Delta enter and leave AES at differences that
nobody without Delta can relate (Guo, Katz, Wang, Yu: ePrint 2019/074, MMO with sigma). One call of AES
under a key tries a guess of Delta for every hidden input under that key at once, so one key for all gates
would lose log2(2 gates) bits, over all circuits that have it. Therefore keys change, as where the key carries
the tweak (Guo, Katz, Wang, Weng, Yu: ePrint 2019/1168): each block of BLOCK instances of a gate call has the
key k = S xor (block, gate), with S fresh for each batch. There are two hidden inputs an instance, so that
log2(2 BLOCK) bits are lost. Transfers are the instances of one gate, number 0, with one hidden input each.

Within one key the tweak separates the instances; it is XORed after sigma. Two inputs of AES under one key
coincide only if two labels, which are uniform or differ by 0 or by the secret Delta, differ by exactly
sigma^-1(i xor i'): probability 2^-128 for each pair.

Byte order: xL is a label's first word, and i is XORed into the first word (little-endian) of what AES gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.labels import LABEL_BYTES, Bytes, Words

BLOCK = 2048
"""Instances of a gate, or transfers, under one AES key. Half as many would be one bit more; to set up a key
takes as long as to encrypt a thousand labels with it, so that a layer of usual size has one or a few."""

CHUNK = 2 * BLOCK
"""Instances worked on at a time, whole blocks: what AES gets and gives stays in the second-level cache."""

_ROW = CHUNK + 4
"""Labels from row to row of a buffer. Were rows a multiple of 4096 bytes apart, every load would wait for
another row's store."""

_SIZES_KEPT = 64

AES_SLACK = LABEL_BYTES - 1
"""`update_into` wants this many bytes more than it writes."""

# ECB is the bare block cipher here; the mode of operation is the hash above.
_ECB = modes.ECB()  # noqa: S305

Encrypt = Callable[[memoryview, memoryview], object]
"""AES under one key: of plain bytes, into a place for as many and AES_SLACK more."""


def sigma(labels: Words, out: Words) -> None:
    """out = sigma(labels), both (n, 2), not overlapping."""
    np.bitwise_xor(labels[:, 0], labels[:, 1], out=out[:, 0])
    out[:, 1] = labels[:, 0]


def block_keys(start_point: bytes, gate: int, instances: range) -> list[bytes]:
    """AES keys of the blocks that hold `instances` of gate call number `gate`: 16 bytes each.

    The block's number is XORed into the first word of S, the gate's into the second.
    """
    base = int.from_bytes(start_point, "little") ^ gate << 64
    blocks = range(instances.start // BLOCK, -(-instances.stop // BLOCK))
    return [(base ^ block).to_bytes(LABEL_BYTES, "little") for block in blocks]


def aes(key: bytes) -> Encrypt:
    """The block cipher under one key."""
    return Cipher(algorithms.AES(key), _ECB).encryptor().update_into


def block_ciphers(start_point: bytes, gate: int, instances: range) -> list[Encrypt]:
    """AES under each of `block_keys`."""
    return [aes(key) for key in block_keys(start_point, gate, instances)]


def hash_labels(ciphers: Sequence[Encrypt], labels: Words, out: Words) -> None:
    """out = H_k(label, tweak), both (n, 2): label i has the tweak i % BLOCK and the cipher i // BLOCK."""
    workspace = Workspace(1)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        work = workspace.sized(len(labels[part]))
        sigma(labels[part], work.fold)
        work.blocks[0] = work.fold
        work.tweak()
        work.encrypt(ciphers[start // BLOCK : (start + CHUNK) // BLOCK])
        np.bitwise_xor(work.fold, work.images[0], out=out[part])


class Scratch:
    """Buffers for a chunk of `size` instances, `width` AES blocks each.

    blocks: input of AES, (width, size, 2); images: its output, same layout. tweaked: first words of the
    blocks that get the tweaks of their half, (halves, size). mask_a, mask_b, fold: (size, 2).
    """

    __slots__ = ("_pieces", "blocks", "fold", "images", "mask_a", "mask_b", "tweaked", "tweaks")

    def __init__(self, workspace: Workspace, size: int) -> None:
        self.blocks: Words = workspace.blocks[:, :size]
        self.images: Words = workspace.images[:, :size]
        self.tweaked = self.blocks[:: workspace.width // workspace.halves, :, 0]
        self.mask_a, self.mask_b, self.fold = (mask[:size] for mask in workspace.masks)
        self.tweaks = workspace.tweaks[:, :size]
        self._pieces = [
            [workspace.piece(row, start, min(start + BLOCK, size)) for row in range(workspace.width)]
            for start in range(0, size, BLOCK)
        ]

    def encrypt(self, ciphers: Sequence[Encrypt]) -> None:
        """images = AES(blocks), each block of instances under its own key."""
        for encrypt, pieces in zip(ciphers, self._pieces, strict=True):
            for plain, image in pieces:
                encrypt(plain, image)

    def tweak(self) -> None:
        """XOR the instances' tweaks into their blocks."""
        self.tweaked ^= self.tweaks


class Workspace:
    """Memory for the hashes of one chunk, and the views on it for chunks of each size.

    width: AES blocks an instance: 1 for a transfer, 2 for the evaluator and 4 for the garbler of a gate.
    """

    __slots__ = ("_input", "_output", "_views", "blocks", "halves", "images", "masks", "tweaks", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self._input: Bytes = np.empty(LABEL_BYTES * _ROW * width, np.uint8)
        self._output: Bytes = np.empty(LABEL_BYTES * _ROW * width + AES_SLACK, np.uint8)
        self.blocks: Words = self._input.view("<u8").reshape(width, _ROW, 2)
        self.images: Words = self._output[:-AES_SLACK].view("<u8").reshape(width, _ROW, 2)
        self.masks: Words = np.empty((3, _ROW, 2), np.uint64)
        # Instance i of a block has the tweak i, or 2i for the garbler's half and 2i + 1 for the evaluator's.
        self.halves = min(width, 2)
        tweaks = np.arange(self.halves * BLOCK, dtype=np.uint64).reshape(BLOCK, self.halves)
        self.tweaks = np.tile(tweaks.T, CHUNK // BLOCK)
        self._views: dict[int, Scratch] = {}

    def piece(self, row: int, start: int, stop: int) -> tuple[memoryview, memoryview]:
        """Instances `start` to `stop` of a row: bytes for AES, and where their images go."""
        first, last = (LABEL_BYTES * (row * _ROW + instance) for instance in (start, stop))
        return self._input.data[first:last], self._output.data[first : last + AES_SLACK]

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
