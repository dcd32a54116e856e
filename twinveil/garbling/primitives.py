"""What garbling and transfers do over whole arrays of labels, all of it with AES: one interface, two ways.

`native/` does it with the processor's AES, where that is built and passes a self-test in this process;
`portable.py` with numpy and `cryptography`, anywhere, and is what the other is held to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cache
from typing import Protocol

import numpy as np

from twinveil.errors import BadConfiguration
from twinveil.garbling.bit_matrix import ROWS
from twinveil.garbling.hashing import BLOCK
from twinveil.garbling.labels import Bytes, Words
from twinveil.garbling.native.gates import BUILT, SUPPORTED, Native
from twinveil.garbling.portable import Portable
from twinveil.native import OFF, REQUIRED, VARIABLE, asked

log = logging.getLogger(__name__)


class Primitives(Protocol):
    """Under the keys of one start point (`hashing`). Labels are (n, 2), contiguous; instances are numbered.

    tables: (2, n, 2), T_G of all gates, then T_E. carries: (n + m, 2) for a ripple of n gates over a batch of
    m, of which the first m are there (`gates.Gates.ripple`).
    """

    def __init__(self, start_point: bytes) -> None: ...

    def set_up(self, instances: range) -> None:
        """Ahead of the inputs, what is worth it."""
        ...

    def hash(self, first: int, half: int, labels: Words) -> Words:
        """H(label, tweak): of instances `first` on, for one half (0, 1) of their gates."""
        ...

    def garble(self, first: int, delta: Words, a: Words, b: Words, tables: Words, zeros: Words) -> None:
        """Tables and zero labels of a and b, instances `first` on."""
        ...

    def garble_ripple(
        self, first: int, delta: Words, x: Words, y: Words, tables: Words, carries: Words
    ) -> None:
        """Tables, and the zero labels of all carries but the first."""
        ...

    def open(self, first: int, a: Words, b: Words, tables: Words, active: Words) -> None:
        """Active labels of a and b."""
        ...

    def open_ripple(self, first: int, x: Words, y: Words, tables: Words, carries: Words) -> None:
        """Active labels of all carries but the first."""
        ...

    @staticmethod
    def streams(keys: Bytes, counter: int, size: int) -> Bytes:
        """`size` bytes of AES-CTR under each key (n, 16) from that counter on: (n, size)."""
        ...

    @staticmethod
    def transpose(rows: Bytes) -> Bytes:
        """128 x 8m bits as uint8 (128, m), to 8m x 128 bits as uint8 (8m, 16), little-endian in bytes."""
        ...


def primitives(start_point: bytes) -> Primitives:
    return implementation()(start_point)


@cache
def implementation() -> type[Primitives]:
    """The fastest that is right; BadConfiguration if TWINVEIL_NATIVE asks for what is not to be had."""
    wish = asked()
    if wish == OFF:
        return Portable
    if SUPPORTED:
        if right(Native):
            return Native
        log.warning("native garbling fails its self-test and is not used")
    if wish == REQUIRED:
        raise BadConfiguration(f"{VARIABLE} is {wish!r}, but {_why_not()}")
    return Portable


def describe() -> str:
    """The one in use and, if it is the portable one, why: for status lines."""
    if implementation() is Native:
        return "native"
    return f"portable ({VARIABLE} is off)" if asked() == OFF else f"portable ({_why_not()})"


def _why_not() -> str:
    if SUPPORTED:
        return "native garbling fails its self-test"
    if BUILT:
        return "this processor has no AES"
    return "the native extension is not there: install a C compiler, then Twinveil again"


def right(tried: type[Primitives]) -> bool:
    """Whether every operation gives what `Portable` does, over the border of a block and in any batch."""
    start_point, first, count = os.urandom(16), BLOCK - 5, BLOCK + 14
    delta, x, y, arriving = (
        np.frombuffer(os.urandom(16 * rows), np.uint64).reshape(rows, 2) for rows in (1, count, count, count)
    )
    rows = x[:ROWS].view(np.uint8)

    def answers(made: Primitives) -> Iterator[Words | Bytes]:
        yield from (made.hash(first, half, x) for half in (0, 1))
        yield from (made.streams(rows, first, 37), made.transpose(rows))
        tables, zeros, active = np.zeros((2, count, 2), np.uint64), np.zeros_like(x), np.zeros_like(x)
        made.garble(first, delta[0], x, y, tables, zeros)
        made.open(first, x, y, tables, active)
        yield from (tables, zeros, active)
        for batch in (1, 3, count):
            tables = np.zeros_like(tables)
            zeros, active = (np.concatenate([arriving[:batch], np.zeros_like(x)]) for _ in range(2))
            made.garble_ripple(first, delta[0], x, y, tables, zeros)
            made.open_ripple(first, x, y, tables, active)
            yield from (tables, zeros, active)

    both = zip(answers(tried(start_point)), answers(Portable(start_point)), strict=True)
    return all(np.array_equal(left, right) for left, right in both)
