"""Oblivious transfer extension: as many OTs as wanted from 128 base OTs.

Ishai, Kilian, Nissim, Petrank (CRYPTO 2003), semi-honest, in the form of Asharov, Lindell, Schneider, Zohner
(ePrint 2016/602) and with precomputed random OTs (Beaver, CRYPTO 1995):

    receiver (S2), seeds k_i0, k_i1              sender (S1), secret s, seeds k_i = k_i(s_i)
    ahead:   c random, t^i = G(k_i0)
             u^i = t^i xor G(k_i1) xor c    ->   q^i = G(k_i) xor s_i u^i, so row q_j = t_j xor c_j s
             pad H(t_j, j)                       pads H(q_j, j), H(q_j xor s, j)
    online:  d_j = b_j xor c_j              ->   e_j0 = x_j0 xor pad_(d_j), e_j1 = x_j1 xor pad_(1 - d_j)
             x_j = e_j(b_j) xor H(t_j, j)   <-

`take` hands out random OTs as they are, for whoever needs no choice of its own (labels ahead, products).

G is AES-CTR under the seed, one stretch of counters for each `prepare`; H is the hash of `hashing` with a
start point made from the session, OT number j as instance j, each `prepare` beginning a block: s takes the
place of Delta. Every index is used once, in order, on both sides; after a failure the session's other OTs are
not to be used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from twinveil.errors import InvalidMessage, OutOfOrder
from twinveil.garbling.base_ot import BASE_COUNT
from twinveil.garbling.bit_matrix import ROWS
from twinveil.garbling.hashing import next_block
from twinveil.garbling.labels import LABEL, LABEL_BYTES, Bools, Bytes, Labels, words, xor_labels
from twinveil.garbling.primitives import primitives

COUNT_MAX = 1 << 24
"""OTs in one `prepare`: 256 MiB of u; more than any circuit of a plan wants."""

_DOMAIN = b"twinveil OT extension v1"


def prepare_bytes(count: int) -> int:
    """Size of u for `count` OTs: 16 bytes each, counts rounded up to multiples of 8."""
    return BASE_COUNT * _row_bytes(count)


def correction_bytes(count: int) -> int:
    return (count + 7) // 8


def masked_bytes(count: int) -> int:
    return 2 * LABEL_BYTES * count


class ExtensionReceiver:
    """S2's side. keys: uint8 (128, 2, 16), both keys of each base OT; session: as in the base OTs."""

    def __init__(self, keys: Bytes, session: bytes) -> None:
        _check_array(keys, (BASE_COUNT, 2, LABEL_BYTES))
        self._keys = (keys[:, 0].copy(), keys[:, 1].copy())
        self._primitives = primitives(_start_point(session))
        self._made = 0
        self._choices = np.zeros(0, np.bool_)
        self._pads = np.zeros(0, LABEL)
        self._waiting: deque[tuple[Bools, Labels]] = deque()

    def __repr__(self) -> str:
        return f"ExtensionReceiver({self.available} left)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("OT secrets are not pickled")

    @property
    def available(self) -> int:
        """Random OTs made and not yet used."""
        return len(self._choices)

    def prepare(self, count: int) -> bytes:
        """u for `count` more random OTs, `prepare_bytes(count)` long; ahead of any input."""
        size = _row_bytes(_checked_count(count))
        packed = np.frombuffer(secrets.token_bytes(size), np.uint8)
        rows, u = (self._primitives.streams(keys, self._made // ROWS, size) for keys in self._keys)
        u ^= rows
        u ^= packed
        choices = np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)
        pads = self._primitives.hash(self._made, 0, words(self._primitives.transpose(rows)[:count]))
        self._made = next_block(self._made + count)
        self._choices = np.concatenate([self._choices, choices])
        self._pads = _joined(self._pads, pads.reshape(-1).view(LABEL))
        return u.tobytes()

    def take(self, count: int) -> tuple[Bools, Labels]:
        """The next `count` random OTs as they are: choices, bool (n,), and the pads of the chosen (n,).

        Raises OutOfOrder if fewer are left.
        """
        _check_left(count, self.available)
        choices, self._choices = self._choices[:count], self._choices[count:]
        pads, self._pads = self._pads[:count], self._pads[count:]
        return choices, pads

    def correct(self, choice_bits: Bools) -> bytes:
        """Corrections d for real choice bits, bool (n,), packed; uses up the next n indices.

        Raises OutOfOrder if fewer than n are left.
        """
        if choice_bits.ndim != 1 or choice_bits.dtype != np.bool_:
            raise InvalidMessage("choice bits must be one row of bool")
        choices, pads = self.take(len(choice_bits))
        self._waiting.append((choice_bits.copy(), pads))
        return np.packbits(choice_bits ^ choices, bitorder="little").tobytes()

    def receive(self, masked: bytes) -> Bytes:
        """Chosen strings, uint8 (n, 16), of the oldest `correct` that waits for its answer.

        Raises OutOfOrder if none waits, InvalidMessage if the size is not exactly 32 n.
        """
        if not self._waiting:
            raise OutOfOrder("no oblivious transfer waits for an answer")
        choice_bits, pads = self._waiting[0]
        if len(masked) != masked_bytes(len(pads)):
            raise InvalidMessage(f"{len(pads)} oblivious transfers have {masked_bytes(len(pads))} bytes")
        self._waiting.popleft()
        strings = np.frombuffer(masked, LABEL).reshape(-1, 2)
        chosen = strings[np.arange(len(pads)), choice_bits.view(np.uint8)]
        return xor_labels(chosen, pads).view(np.uint8).reshape(-1, LABEL_BYTES)


class ExtensionSender:
    """S1's side. keys: uint8 (128, 16), the base OTs' keys for the choice bits s: bool (128,)."""

    def __init__(self, keys: Bytes, s: Bools, session: bytes) -> None:
        _check_array(keys, (BASE_COUNT, LABEL_BYTES))
        if s.shape != (BASE_COUNT,) or s.dtype != np.bool_:
            raise InvalidMessage(f"the extension wants {BASE_COUNT} choice bits")
        self._keys = keys.copy()
        self._s_rows = np.negative(s.astype(np.uint8))[:, None]
        self._s = np.packbits(s, bitorder="little").view("<u8")
        self._primitives = primitives(_start_point(session))
        self._made = 0
        self._pads = np.zeros((0, 2), LABEL)

    def __repr__(self) -> str:
        return f"ExtensionSender({self.available} left)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("OT secrets are not pickled")

    @property
    def available(self) -> int:
        """Random OTs made and not yet used."""
        return len(self._pads)

    def accept(self, u: bytes, count: int) -> None:
        """Take in the receiver's u for `count` more random OTs.

        Raises InvalidMessage if its size is not exactly `prepare_bytes(count)`.
        """
        size = _row_bytes(_checked_count(count))
        if len(u) != BASE_COUNT * size:
            raise InvalidMessage(
                f"u for {count} oblivious transfers has {BASE_COUNT * size} bytes, not {len(u)}"
            )
        rows = self._primitives.streams(self._keys, self._made // ROWS, size)
        rows ^= np.frombuffer(u, np.uint8).reshape(BASE_COUNT, size) & self._s_rows
        pads = np.empty((count, 2), LABEL)
        both = words(pads).reshape(count, 2, 2)
        labels = words(self._primitives.transpose(rows)[:count])
        both[:, 0] = self._primitives.hash(self._made, 0, labels)
        for word in (0, 1):
            labels[:, word] ^= self._s[word]
        both[:, 1] = self._primitives.hash(self._made, 0, labels)
        self._made = next_block(self._made + count)
        self._pads = _joined(self._pads, pads)

    def take(self, count: int) -> Labels:
        """Both pads of the next `count` random OTs as they are: (n, 2).

        Raises OutOfOrder if fewer are left.
        """
        _check_left(count, self.available)
        pads, self._pads = self._pads[:count], self._pads[count:]
        return pads

    def send(self, pairs: Bytes, corrections: bytes) -> bytes:
        """Masked pairs for the receiver's corrections; uses up the next n indices.

        pairs: uint8 (n, 2, 16); result: 32 n bytes. Raises InvalidMessage if sizes are not exact (no index
        is used then), OutOfOrder if fewer than n indices are left.
        """
        count = len(pairs)
        _check_array(pairs, (count, 2, LABEL_BYTES))
        if len(corrections) != correction_bytes(count):
            raise InvalidMessage(f"{count} corrections have {correction_bytes(count)} bytes")
        pads = self.take(count)
        swapped = np.unpackbits(np.frombuffer(corrections, np.uint8), count=count, bitorder="little")
        order = np.arange(0, 2 * count, 2) + swapped
        masks, flat = np.empty_like(pads), pads.reshape(-1)
        masks[:, 0] = flat[order]
        masks[:, 1] = flat[order ^ 1]
        masked = words(masks)
        masked ^= words(pairs)
        return masked.tobytes()


def _row_bytes(count: int) -> int:
    return (count + 7) // 8


def _joined(left: npt.NDArray[Any], made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What is left and what is new; copies nothing where nothing is left."""
    return np.concatenate([left, made]) if len(left) else made


def _start_point(session: bytes) -> bytes:
    """The hash's AES keys belong to this session alone."""
    return hashlib.sha256(_DOMAIN + session).digest()[:LABEL_BYTES]


def _checked_count(count: int) -> int:
    if not 1 <= count <= COUNT_MAX:
        raise InvalidMessage(f"1 to {COUNT_MAX} oblivious transfers are prepared at a time")
    return count


def _check_left(count: int, available: int) -> None:
    if count > available:
        raise OutOfOrder(f"{count} oblivious transfers are wanted, {available} are prepared")


def _check_array(array: Bytes, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.uint8:
        raise InvalidMessage(f"keys and labels for oblivious transfer must be uint8 of shape {shape}")
