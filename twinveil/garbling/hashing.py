"""The hash of half gates, of shared outputs and of OT extension, over arrays of labels.

    H_k(x, i) = AES_k(u) xor u,    u = sigma(x) xor i,    sigma(xL || xR) = (xL xor xR) || xL

sigma is a linear orthomorphism, so labels that differ by Delta enter and leave AES at differences that
nobody without Delta can relate (Guo, Katz, Wang, Yu: ePrint 2019/074, MMO with sigma; the public i that goes
forward here changes nothing that an adversary could not change itself). One call of AES under a key tries a
guess of Delta for every hidden input under that key at once, so one key for all gates would lose
log2(2 gates) bits, over all circuits that have it. Therefore keys change, as where the key carries the tweak
(Guo, Katz, Wang, Weng, Yu: ePrint 2019/1168): *instances* (AND gates, then output bits, of one batch; or the
transfers of one session) are numbered on and on, and each block of BLOCK instances has the key
k = S xor block, with S fresh for each batch.

Bounds, in the ideal-cipher model, for circuits of any size and any number of batches: a gate hides two labels
and an output bit one, Delta has 127 random bits, so circuits keep 127 - log2(2 BLOCK) = 118 bits; a
transfer hides one label under the 128 bits of s: 128 - log2(BLOCK) = 120. (The default Paillier key: 128.)

Within one key the tweak separates the hashes: instance i of a block has the tweaks 2i and 2i + 1, one for
each half of a gate; it is XORed after sigma. Two inputs of AES under one key coincide only if two labels,
which are uniform or differ by 0 or by the secret Delta, differ by exactly sigma^-1(i xor i'): probability
2^-128 for each pair.

This module is the hash by numpy and `cryptography`; `native/gates.c` has the same.

Byte order: xL is a label's first word, and i is XORed into the second word (little-endian) of what AES gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.labels import LABEL_BYTES, Words

BLOCK = 256
"""Instances under one AES key, a multiple of 128. Half as many would be one bit more; to set a key up here
takes as long as to encrypt some two thousand labels with it, which is paid ahead of the inputs."""

CHUNK = 4096
"""Labels worked on at a time: what AES gets and gives stays in the second-level cache."""

_KEYS_KEPT = 4096
"""Blocks behind the last instance whose keys may still be there: 6 MiB."""

AES_SLACK = LABEL_BYTES - 1
"""`update_into` wants this many bytes more than it writes."""

# ECB is the bare block cipher here; the mode of operation is the hash above.
_ECB = modes.ECB()  # noqa: S305

Encrypt = Callable[[memoryview, memoryview], object]
"""AES under one key: of plain bytes, into a place for as many and AES_SLACK more."""


def block_key(start_point: bytes, block: int) -> bytes:
    """The AES key of a block of instances: 16 bytes. The block's number is XORed into S, little-endian."""
    return (int.from_bytes(start_point, "little") ^ block).to_bytes(LABEL_BYTES, "little")


def aes(key: bytes) -> Encrypt:
    """The block cipher under one key."""
    return Cipher(algorithms.AES(key), _ECB).encryptor().update_into


def next_block(instance: int) -> int:
    """The first instance from `instance` on that begins a block."""
    return -(-instance // BLOCK) * BLOCK


def chunks(start: int, stop: int, size: int = 0) -> Iterator[slice]:
    """`size` by `size`; CHUNK by CHUNK."""
    step = size or CHUNK
    for at in range(start, stop, step):
        yield slice(at, min(at + step, stop))


class Keys:
    """AES under the keys of one start point: set up when they are first wanted, or ahead."""

    def __init__(self, start_point: bytes) -> None:
        self._start_point = start_point
        self._ciphers: dict[int, Encrypt] = {}
        self._forgotten = 0

    def __repr__(self) -> str:
        return "Keys(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys that are set up are not pickled")

    def set_up(self, instances: range) -> None:
        """Set up the keys of these instances."""
        for block in range(instances.start // BLOCK, -(-instances.stop // BLOCK)):
            self.of(block)

    def of(self, block: int) -> Encrypt:
        cipher = self._ciphers.get(block)
        if cipher is None:
            cipher = self._ciphers[block] = aes(block_key(self._start_point, block))
        return cipher

    def forget(self, before: int) -> None:
        """Now and then, drop the keys of blocks before an instance: it takes as long as to use them."""
        if before // BLOCK - self._forgotten > _KEYS_KEPT:
            self._ciphers = {block: each for block, each in self._ciphers.items() if block >= before // BLOCK}
            self._forgotten = before // BLOCK


class Hash:
    """H under keys, with the buffers that it takes."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        # An instance's place in the buffers is its place in its block, or whole blocks further on.
        room = CHUNK + BLOCK
        self._plain = np.empty(LABEL_BYTES * room, np.uint8)
        self._image = np.empty(LABEL_BYTES * room + AES_SLACK, np.uint8)
        self._blocks: Words = self._plain.view("<u8").reshape(room, 2)
        self._images: Words = self._image[:-AES_SLACK].view("<u8").reshape(room, 2)
        self._tweaks = np.tile(np.arange(2 * BLOCK, dtype=np.uint64).reshape(BLOCK, 2).T, room // BLOCK)
        self._pieces = [self._piece(start, start + BLOCK) for start in range(0, room, BLOCK)]

    def __repr__(self) -> str:
        return "Hash(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a hash holds labels in its buffers and is not pickled")

    def labels(self, first: int, half: int, labels: Words) -> Words:
        """H(label, tweak), (n, 2): of instances `first` on, for one half (0, 1) of their gates."""
        self.keys.forget(first)
        if len(labels) <= CHUNK:
            return self._chunk(first, half, labels)
        out = np.empty_like(labels)
        for part in chunks(0, len(labels)):
            out[part] = self._chunk(first + part.start, half, labels[part])
        return out

    def _chunk(self, first: int, half: int, labels: Words) -> Words:
        number, start = divmod(first, BLOCK)
        stop = start + len(labels)
        blocks, left = self._blocks[start:stop], labels[:, 0]
        np.bitwise_xor(left, labels[:, 1], out=blocks[:, 0])
        np.bitwise_xor(left, self._tweaks[half, start:stop], out=blocks[:, 1])
        self._encrypt(number, start, stop)
        return blocks ^ self._images[start:stop]

    def _encrypt(self, number: int, start: int, stop: int) -> None:
        """AES of a part of the buffer, which begins in block `number`, each block under its own key."""
        pieces = self._pieces[: -(-stop // BLOCK)]
        if stop % BLOCK:
            pieces[-1] = self._piece(stop - stop % BLOCK, stop)
        if start:
            pieces[0] = self._piece(start, min(stop, BLOCK))
        for block, (plain, image) in enumerate(pieces, number):
            self.keys.of(block)(plain, image)

    def _piece(self, start: int, stop: int) -> tuple[memoryview, memoryview]:
        """Bytes for AES, and where their images go."""
        first, last = LABEL_BYTES * start, LABEL_BYTES * stop
        return self._plain.data[first:last], self._image.data[first : last + AES_SLACK]
