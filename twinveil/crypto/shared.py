"""Products of powers on all of a cloud's workers: on threads of this process, or as bytes in others.

What goes to another process, of this machine or another, is a parcel: bytes in, bytes out, by pure functions.
Each process makes its own tables and uses the level of its own processor; results and counts are the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.level import GMPY2, level
from twinveil.crypto.native.residues import Modulus, Residues
from twinveil.crypto.native.tables import (
    GROUP,
    Tables,
    checked,
    exponentiation_counts,
    multi_exponentiate,
    product_counts,
    table_counts,
    table_entries,
)
from twinveil.crypto.tally import Tally
from twinveil.parallel import INLINE, Workers

NUMBER_BYTES = 64
"""What a number in a table takes beyond its own bytes, about: by gmpy2 its header and a pointer, in lanes
what limbs leave empty (128 by IFMA from 3072 bits on). One for all levels: tables' groups follow from it."""
MAX_CACHED_BYTES = 256 << 20
"""Tables on fixed bases that a process keeps which works for another."""


def own_workers(count: int | None = None) -> Workers:
    """This machine's: threads where arithmetic is native, processes where it holds Python's lock."""
    return Workers.processes(count) if level() == GMPY2 else Workers.threads(count)


class Job(NamedTuple):
    """One call of `multi_exponentiate`: units, exponents (outputs, bases), their width in bits."""

    bases: Residues
    exponents: NDArray[np.uint64]
    bits: int


class Parcel(NamedTuple):
    """A job as bytes."""

    n: bytes
    bases: bytes
    exponents: bytes
    bits: int

    @classmethod
    def of(cls, job: Job) -> Parcel:
        n = job.bases.modulus.n
        exponents = np.ascontiguousarray(job.exponents, "<u8").tobytes()
        return cls(n.to_bytes(-(-n.bit_length() // 8), "big"), job.bases.to_bytes(), exponents, job.bits)

    def opened(self) -> Job:
        bases = Modulus.squared(mpz.from_bytes(self.n, "big")).from_bytes(self.bases)
        exponents = np.frombuffer(self.exponents, "<u8").astype(np.uint64, copy=False)
        return Job(bases, exponents.reshape(-1, len(bases)), self.bits)


def multi_exponentiate_all(jobs: Sequence[Job], tally: Tally, workers: Workers = INLINE) -> list[Residues]:
    """`multi_exponentiate` of every job, each by one worker where these are apart."""
    for job in jobs:
        checked(job.exponents, len(job.bases), job.bits)
    if workers.apart:
        done = workers.map(_exponentiated, [Parcel.of(job) for job in jobs])
        made = [job.bases.modulus.from_bytes(data) for job, data in zip(jobs, done, strict=True)]
    else:
        made = [multi_exponentiate(*job) for job in jobs]
    for job in jobs:
        tally += exponentiation_counts(len(job.bases), len(job.exponents), job.bits)
    return made


def _exponentiated(parcel: Parcel) -> bytes:
    return multi_exponentiate(*parcel.opened()).to_bytes()


class FixedBases:
    """Tables on bases that never change, such as an encrypted model: a term is bits / group half products.

    Made on first use, here or in each worker; counted once, here.
    """

    __slots__ = ("_bases", "_digest", "_tables", "count", "group")

    def __init__(self, bases: Residues, tally: Tally, group: int = GROUP) -> None:
        self.count = len(bases)
        self.group = group
        self._bases = bases
        self._digest = b""
        self._tables: Tables | None = None
        tally += table_counts(self.count, group)

    def products(
        self, exponents: NDArray[np.uint64], bits: int, tally: Tally, workers: Workers = INLINE
    ) -> Residues:
        """prod_t bases[t]^exponents[o, t] for every row o, on all workers."""
        outputs = checked(exponents, self.count, bits)
        tally += product_counts(self.count, outputs, bits, self.group)
        if not workers.apart or outputs == 1:
            if self._tables is None:
                self._tables = Tables(self._bases, self.group)
            return self._tables.products(exponents, bits)
        parts = np.array_split(exponents, min(workers.count, outputs))
        parcels = [Parcel.of(Job(self._bases, part, bits)) for part in parts]
        if not self._digest:
            self._digest = hashlib.sha256(bytes([self.group]) + parcels[0].n + parcels[0].bases).digest()
        done = workers.map(_multiplied, [(self._digest, self.group, parcel) for parcel in parcels])
        return self._bases.modulus.from_bytes(b"".join(done))


_cache: OrderedDict[bytes, tuple[Tables, int]] = OrderedDict()
_cache_lock = threading.Lock()


def _multiplied(order: tuple[bytes, int, Parcel]) -> bytes:
    digest, group, parcel = order
    bases, exponents, bits = parcel.opened()
    return _cached(digest, group, bases).products(exponents, bits).to_bytes()


def _cached(digest: bytes, group: int, bases: Residues) -> Tables:
    """This process's tables for one set of bases; sets used longest ago make room."""
    with _cache_lock:
        if digest not in _cache:
            needed = table_bytes(len(bases), group, bases.modulus.n.bit_length())
            while _cache and needed + sum(size for _, size in _cache.values()) > MAX_CACHED_BYTES:
                _cache.popitem(last=False)
            _cache[digest] = Tables(bases, group), needed
        _cache.move_to_end(digest)
        return _cache[digest][0]


def table_bytes(count: int, group: int, key_bits: int) -> int:
    """Memory of tables on so many bases, about."""
    return 2 * table_entries(count, group) * (key_bits // 8 + NUMBER_BYTES)
