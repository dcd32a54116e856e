"""Tables on bases that never change, such as an encrypted model: multi-exponentiation without its set-up.

The same groups as in `multiexp`, made once and kept; `fixed_base` is the other kind of table, on one base
for long exponents.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.multiexp import (
    GroupTables,
    Parcel,
    checked_outputs,
    group_tables,
    pack_numbers,
    root,
    shares,
    unpack_numbers,
    with_tables,
)
from twinveil.crypto.multiexp_schedule import Tables
from twinveil.crypto.normal_form import normalise
from twinveil.crypto.tally import Tally
from twinveil.parallel import INLINE, Workers

FIXED_GROUP = 8
"""Bases in a group of fixed tables: 255 products of 2 * (N + 48) bytes for 8 bases, 19 KiB a base at 2048
bits."""


class FixedBases:
    """Tables on bases that never change, such as an encrypted model: made once, kept in memory.

    A term of b bits costs b/group half multiplications and nothing else. A process makes the tables when it
    first needs them: this one for work done here, each worker for its share. `memory_bytes` says what they
    take in each. They are counted once, here.
    """

    __slots__ = ("_bases", "_digest", "_modulus", "_n", "_tables", "count", "schedule")

    def __init__(self, bases: Sequence[mpz], modulus: mpz, tally: Tally, group: int = FIXED_GROUP) -> None:
        self.count = len(bases)
        self.schedule = Tables(min(group, len(bases)), 1)
        self._n = root(modulus)
        self._modulus = modulus
        self._bases = pack_numbers(bases, self._size)
        self._digest = hashlib.sha256(self._bases + bytes([group]) + self._n.to_bytes(self._size)).digest()
        self._tables: GroupTables | None = None
        tally += self.schedule.table_counts(self.count)

    @property
    def _size(self) -> int:
        return int(self._modulus.bit_length() + 7) // 8

    @property
    def memory_bytes(self) -> int:
        """What the tables take in one process: two numbers below N an entry, three in the first group."""
        return _table_bytes(self.schedule, self.count, self._n)

    def counts(self, outputs: int, bits: int) -> dict[str, int]:
        """Operations of one `power` (without the tables)."""
        return self.schedule.power_counts(self.count, outputs, bits)

    def power(
        self, exponents: NDArray[np.uint64], bits: int, tally: Tally, workers: Workers = INLINE
    ) -> list[mpz]:
        """prod_t bases[t]^exponents[o, t] for every row o; as `multi_exponentiate`."""
        outputs = checked_outputs(self.count, exponents, bits)
        if workers.count == 1 or outputs == 1:
            results = with_tables(self._own_tables(), exponents, bits, self.schedule, self._n, self._modulus)
        else:
            parcels, start = [], 0
            for share in shares(outputs, 1, workers.count):
                block = np.ascontiguousarray(exponents[start : start + share]).tobytes()
                modulus = self._modulus.to_bytes(self._size, "little")
                parcel = Parcel(self._bases, block, share, bits, modulus)
                parcels.append((self._digest, self.schedule, parcel))
                start += share
            results = []
            for data in workers.map(_run_fixed, parcels):
                results += unpack_numbers(data, self._size)
        tally += self.counts(outputs, bits)
        return results

    def _own_tables(self) -> GroupTables:
        if self._tables is None:
            bases = unpack_numbers(self._bases, self._size)
            self._tables = group_tables(normalise(bases, self._n), self.schedule, self._n)
        return self._tables


OVERHEAD_BYTES = 56
"""Of one mpz in a list: object header, allocation, pointer."""
MAX_CACHED_BYTES = 256 << 20
"""Tables on fixed bases that one worker keeps."""

_cache: OrderedDict[bytes, tuple[GroupTables, int]] = OrderedDict()
_cache_lock = threading.Lock()


def _run_fixed(order: tuple[bytes, Tables, Parcel]) -> bytes:
    digest, schedule, parcel = order
    size = len(parcel.modulus)
    modulus = mpz.from_bytes(parcel.modulus, "little")
    n = root(modulus)
    tables = _cached_tables(digest, schedule, parcel, n)
    count = len(parcel.bases) // size
    exponents = np.frombuffer(parcel.exponents, dtype=np.uint64).reshape(parcel.outputs, count)
    return pack_numbers(with_tables(tables, exponents, parcel.bits, schedule, n, modulus), size)


def _cached_tables(digest: bytes, schedule: Tables, parcel: Parcel, n: mpz) -> GroupTables:
    """This process's tables for one set of bases; sets used longest ago make room."""
    with _cache_lock:
        if digest not in _cache:
            bases = unpack_numbers(parcel.bases, len(parcel.modulus))
            needed = _table_bytes(schedule, len(bases), n)
            while _cache and needed + sum(size for _, size in _cache.values()) > MAX_CACHED_BYTES:
                _cache.popitem(last=False)
            _cache[digest] = group_tables(normalise(bases, n), schedule, n), needed
        _cache.move_to_end(digest)
        return _cache[digest][0]


def _table_bytes(schedule: Tables, count: int, n: mpz) -> int:
    entries = [1 << (size * schedule.window) for size in schedule.groups(count)]
    return (2 * sum(entries) + entries[0]) * (int(n.bit_length()) // 8 + OVERHEAD_BYTES)
