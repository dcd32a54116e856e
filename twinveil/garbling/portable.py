"""What `primitives` promises, with numpy and `cryptography`: anywhere, and the other way's oracle.

The fewer calls of AES the better, and arrays are taken in parts that stay in the second-level cache.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling import bit_matrix
from twinveil.garbling.hashing import CHUNK, Hash, Keys, chunks
from twinveil.garbling.labels import LABEL, LABEL_BYTES, Bytes, Words, words


class Portable:
    """See `primitives.Primitives`; half gates as in `garbler` and `evaluator`."""

    def __init__(self, start_point: bytes) -> None:
        self._hash = Hash(Keys(start_point))
        self._choice = Choice(CHUNK)

    def __repr__(self) -> str:
        return "Portable(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("buffers that hold labels are not pickled")

    def set_up(self, instances: range) -> None:
        """Set up the keys of these instances."""
        self._hash.keys.set_up(instances)

    def hash(self, first: int, half: int, labels: Words) -> Words:
        return self._hash.labels(first, half, labels)

    def garble(self, first: int, delta: Words, a: Words, b: Words, tables: Words, zeros: Words) -> None:
        for part in chunks(0, len(a)):
            left, right = a[part], b[part]
            generator, own = tables[:, part]
            rows = self._choice.rows(len(left))

            hashed = self.hash(first + part.start, 0, left)
            np.bitwise_xor(hashed, self.hash(first + part.start, 0, left ^ delta), out=generator)
            rows[:] = delta
            generator ^= self._choice.by(right)
            rows[:] = generator
            hashed ^= self._choice.by(left)

            other = self.hash(first + part.start, 1, right)
            np.bitwise_xor(other, self.hash(first + part.start, 1, right ^ delta), out=rows)
            np.bitwise_xor(rows, left, out=own)
            hashed ^= other
            np.bitwise_xor(hashed, self._choice.by(right), out=zeros[part])

    def garble_ripple(
        self, first: int, delta: Words, x: Words, y: Words, tables: Words, carries: Words
    ) -> None:
        size, differ = len(carries) - len(x), x ^ y
        for at in range(0, len(x), size or 1):
            part, later = slice(at, at + size), carries[at + size : at + 2 * size]
            self.garble(first + at, delta, differ[part], x[part] ^ carries[part], tables[:, part], later)
            later ^= x[part]

    def open(self, first: int, a: Words, b: Words, tables: Words, active: Words) -> None:
        generator, own = tables
        for part in chunks(0, len(active)):
            opened = self._open(first + part.start, 0, a[part], generator[part])
            opened ^= self._open(first + part.start, 1, b[part], own[part], a[part])
            active[part] = opened

    def open_ripple(self, first: int, x: Words, y: Words, tables: Words, carries: Words) -> None:
        """What hangs on x xor y alone is opened for many bits at once, then the carry goes its way."""
        size, (generator, own) = len(carries) - len(x), tables
        later = carries[size:]
        for bits in chunks(0, len(x), size * max(1, CHUNK // max(1, size))):
            differ = x[bits] ^ y[bits]
            for part in chunks(bits.start, bits.stop):
                opened = self._open(first + part.start, 0, differ[_within(bits, part)], generator[part])
                np.bitwise_xor(opened, x[part], out=later[part])
            differ ^= own[bits]
            for part in chunks(bits.start, bits.stop, min(size, CHUNK)):
                arrived = x[part] ^ carries[part]
                later[part] ^= self._open(first + part.start, 1, arrived, differ[_within(bits, part)])

    def _open(self, first: int, half: int, labels: Words, table: Words, other: Words | None = None) -> Words:
        """H of at most CHUNK labels; where the permute bit is 1, xor table xor other: a fresh array."""
        rows = self._choice.rows(len(labels))
        if other is None:
            rows[:] = table
        else:
            np.bitwise_xor(table, other, out=rows)
        out = self.hash(first, half, labels)
        out ^= self._choice.by(labels)
        return out

    @staticmethod
    def streams(keys: Bytes, counter: int, size: int) -> Bytes:
        zeros, nonce = bytes(size), counter.to_bytes(16, "big")
        out = np.empty((len(keys), size + LABEL_BYTES), np.uint8)
        for row, key in zip(out, keys, strict=True):
            Cipher(algorithms.AES(key.tobytes()), modes.CTR(nonce)).encryptor().update_into(zeros, row.data)
        return out[:, :size]

    @staticmethod
    def transpose(rows: Bytes) -> Bytes:
        return bit_matrix.transpose(rows)


class Choice:
    """Rows that are chosen where a label's lowest bit is 1, and zeros elsewhere.

    By gathering, so that time does not hang on the bits: masking by comparison makes the processor guess.
    """

    def __init__(self, most: int) -> None:
        self._rows = np.zeros(most + 1, LABEL)
        self._words = words(self._rows)[1:]
        self._places = np.arange(1, most + 1)

    def rows(self, size: int) -> Words:
        """Room for as many rows (size, 2); to be filled before each `by`."""
        return self._words[:size]

    def by(self, labels: Words) -> Words:
        """A fresh array (n, 2)."""
        size = len(labels)
        places = (labels.view(np.int64)[:, 0] & 1) * self._places[:size]
        return self._rows.take(places).view(np.uint64).reshape(size, 2)


def _within(whole: slice, part: slice) -> slice:
    """A part, counted from where the whole begins."""
    return slice(part.start - whole.start, part.stop - whole.start)
