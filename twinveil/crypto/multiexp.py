"""Products of powers: for every output o, prod_t bases[t]^exponents[o, t] mod N^2.

This is where a linear layer spends its time: bases are ciphertexts, exponents are short integers, and many
outputs share the same bases. Two schedules, both on normal forms (see normal_form), so that each step of the
long loop is a multiplication by a number below N:

buckets (Pippenger 1976; Bernstein, Doumen, Lange, Oosterwijk, INDOCRYPT 2012, section 4): exponents are cut
    into signed windows; for each output and window a base or its inverse goes to the bucket of its digit, and
    a running product raises bucket d to d. Good for many bases: windows + 2 buckets/bases steps a term.
tables (Straus 1964, in groups): for each group of bases all products of digits of one window are made once
for
    all outputs; a window of a group is one multiplication. Good for few bases and many outputs, and for bases
    that never change (`FixedBases`).

Which schedule, and its windows, follow from (bases, outputs, bits) alone, and no step is left out for a zero
digit. So counts are exact and known beforehand (`predict`), and the order of operations does not depend on
the exponents; which operands are touched does (memory access is not hidden).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.multiexp_schedule import MAX_BITS, Buckets, Tables, choose, operation_count, predict
from twinveil.crypto.normal_form import ONE, UNIT, Normal, linear_forms, normalise, product, value
from twinveil.crypto.tally import MODMUL_N2, SQUARE_N2, Tally
from twinveil.parallel import INLINE, Workers

__all__ = [
    "Buckets",
    "FixedBases",
    "Job",
    "Tables",
    "multi_exponentiate",
    "multi_exponentiate_all",
    "operation_count",
    "predict",
    "predict_all",
    "shift_combine",
    "shift_combine_counts",
]


def multi_exponentiate(
    bases: Sequence[mpz],
    exponents: NDArray[np.uint64],
    bits: int,
    modulus: mpz,
    tally: Tally,
    schedule: Buckets | Tables | None = None,
) -> list[mpz]:
    """prod_t bases[t]^exponents[o, t] mod `modulus` for every row o.

    bases: units modulo `modulus`, which is N^2. exponents: (outputs, bases), below 2^bits, bits <= 64.
    Raises ValueError for shapes or widths that do not fit, ZeroDivisionError if a base is no unit.
    """
    n = _root(modulus)
    outputs = _checked(len(bases), exponents, bits)
    schedule = schedule or choose(len(bases), outputs, bits)
    forms = normalise(bases, n)
    if isinstance(schedule, Buckets):
        results = _with_buckets(forms, exponents, bits, schedule, n, modulus)
    else:
        tables = _tables(forms, schedule, n)
        results = _with_tables(tables, exponents, bits, schedule, n, modulus)
    tally += schedule.counts(len(bases), outputs, bits)
    return results


def _root(modulus: mpz) -> mpz:
    n, rest = gmpy2.isqrt_rem(modulus)
    if rest:
        raise ValueError("the modulus is not the square of N")
    return n


def _checked(bases: int, exponents: NDArray[np.uint64], bits: int) -> int:
    if exponents.dtype != np.uint64 or exponents.ndim != 2 or exponents.shape[1] != bases:
        raise ValueError(f"exponents must be uint64 of shape (outputs, {bases})")
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"exponents have 1 to {MAX_BITS} bits, not {bits}")
    if int(exponents.max(initial=0)).bit_length() > bits:
        raise ValueError(f"an exponent is longer than {bits} bits")
    return int(exponents.shape[0])


def signed_digits(
    exponents: NDArray[np.uint64], bits: int, windows: tuple[int, ...]
) -> tuple[list[NDArray[np.int64]], NDArray[np.uint64]]:
    """Digits of every exponent, most significant window first, and the sum of its negative digits' weights.

    exponent = sum_j digit_j 2^(w_j): a digit above half its window is made negative and carries one.
    """
    digits: list[NDArray[np.int64]] = []
    carry = np.zeros(exponents.shape, dtype=np.uint64)
    negatives = np.zeros(exponents.shape, dtype=np.uint64)
    shift = 0
    for window in reversed(windows[1:]):
        digit = ((exponents >> np.uint64(shift)) & np.uint64((1 << window) - 1)) + carry
        carry = (digit > np.uint64(1 << (window - 1))).astype(np.uint64)
        borrowed = carry * (np.uint64(1 << window) - digit)
        negatives += borrowed << np.uint64(shift)
        digits.append(np.where(carry == 1, -borrowed.astype(np.int64), digit.astype(np.int64)))
        shift += window
    digits.append(((exponents >> np.uint64(shift)) + carry).astype(np.int64))
    digits.reverse()
    return digits, negatives


def _with_buckets(
    forms: Sequence[Normal], exponents: NDArray[np.uint64], bits: int, schedule: Buckets, n: mpz, modulus: mpz
) -> list[mpz]:
    count = len(forms)
    factors = [form.u for form in forms]
    digits, negatives = signed_digits(exponents, bits, schedule.windows)
    sums = linear_forms(exponents, [form.k for form in forms], n)
    if schedule.signed:
        factors += [form.inverse for form in forms]
        # (u (1 + kN))^-1 = u^-1 (1 - (k + t)N): every negative digit owes its weight times t
        owed = linear_forms(negatives, [form.u * form.inverse // n for form in forms], n)
        sums = [have - owe for have, owe in zip(sums, owed, strict=True)]
    places = [np.abs(digit) for digit in digits]
    chosen = [np.arange(count) + count * (digit < 0) for digit in digits]
    results = []
    for row, k in enumerate(sums):
        accumulator = ONE
        for step, size in enumerate(schedule.sizes(bits)):
            raised = _raise(factors, places[step][row].tolist(), chosen[step][row].tolist(), size, modulus)
            if step:
                for _ in range(schedule.windows[step]):
                    accumulator = accumulator * accumulator % modulus
                accumulator = accumulator * raised % modulus
            else:
                accumulator = raised
        results.append(value(accumulator, k, n, modulus))
    return results


def _raise(factors: list[mpz], places: list[int], chosen: list[int], size: int, modulus: mpz) -> mpz:
    """prod_t factors[chosen[t]]^places[t]; bucket 0 takes what has digit 0 and is dropped."""
    buckets = [ONE] * (size + 1)
    for place, index in zip(places, chosen, strict=True):
        buckets[place] = buckets[place] * factors[index] % modulus
    running = total = buckets[size]
    for place in range(size - 1, 0, -1):
        running = running * buckets[place] % modulus
        total = total * running % modulus
    return total


TABLE_BATCH = 352
"""Running products kept at a time: 16 outputs of 22 steps, 200 KB at 2048 bits."""


@dataclass(frozen=True, slots=True)
class _GroupTables:
    """For every group its products of digits: half-size factors, and the k of their normal forms."""

    factors: list[list[mpz]]
    ks: list[list[mpz]]


def _tables(forms: Sequence[Normal], schedule: Tables, n: mpz) -> _GroupTables:
    """Entry sum_i d_i 2^(window i) of a group is prod_i base_i^d_i."""
    factors, ks = [], []
    start = 0
    for size in schedule.groups(len(forms)):
        table = [UNIT]
        for form in forms[start : start + size]:
            power = UNIT
            block = list(table)
            for digit in range(1, 1 << schedule.window):
                power = form if digit == 1 else product(power, form, n)
                table += [power, *(product(entry, power, n) for entry in block[1:])]
        start += size
        factors.append([entry.u for entry in table])
        ks.append([entry.k for entry in table])
    return _GroupTables(factors, ks)


def _indices(exponents: NDArray[np.uint64], bits: int, schedule: Tables) -> NDArray[np.uint64]:
    """Table index of every (output, step, group), most significant step first."""
    sizes = schedule.groups(exponents.shape[1])
    mask = np.uint64((1 << schedule.window) - 1)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    position = np.concatenate([np.arange(size) for size in sizes]).astype(np.uint64)
    places = position * np.uint64(schedule.window)
    steps = []
    for step in range(schedule.steps(bits) - 1, -1, -1):
        digits = (exponents >> np.uint64(step * schedule.window)) & mask
        steps.append(np.add.reduceat(digits << places, starts, axis=1))
    return np.stack(steps, axis=1)


def _with_tables(
    tables: _GroupTables,
    exponents: NDArray[np.uint64],
    bits: int,
    schedule: Tables,
    n: mpz,
    modulus: mpz,
) -> list[mpz]:
    indices = _indices(exponents, bits, schedule)
    outputs, steps, _ = indices.shape
    results: list[mpz] = []
    rows = max(1, TABLE_BATCH // steps)
    for start in range(0, outputs, rows):
        columns = indices[start : start + rows].reshape(-1, indices.shape[2]).T.tolist()
        factors = list(map(tables.factors[0].__getitem__, columns[0]))
        sums = list(map(tables.ks[0].__getitem__, columns[0]))
        # Group by group for all outputs and steps, so that a group's table stays in the cache
        for group, column in enumerate(columns[1:], start=1):
            table, ks = tables.factors[group], tables.ks[group]
            pairs = zip(factors, column, strict=True)
            factors = [running * table[index] % modulus for running, index in pairs]
            sums = [total + ks[index] for total, index in zip(sums, column, strict=True)]
        for row in range(0, len(factors), steps):
            accumulator, k = factors[row], sums[row]
            for step in range(row + 1, row + steps):
                for _ in range(schedule.window):
                    accumulator = accumulator * accumulator % modulus
                accumulator = accumulator * factors[step] % modulus
                k = (k << schedule.window) + sums[step]
            results.append(value(accumulator, k, n, modulus))
    return results


def shift_combine(values: Sequence[mpz], width: int, modulus: mpz, tally: Tally) -> mpz:
    """prod_j values[j]^(2^(width j)) mod `modulus`, by Horner's rule."""
    accumulator = values[-1]
    for factor in reversed(values[:-1]):
        for _ in range(width):
            accumulator = accumulator * accumulator % modulus
        accumulator = accumulator * factor % modulus
    tally += shift_combine_counts(len(values), width)
    return accumulator


def shift_combine_counts(count: int, width: int) -> dict[str, int]:
    """Operations of one `shift_combine`."""
    return {SQUARE_N2: (count - 1) * width, MODMUL_N2: count - 1}


class Job(NamedTuple):
    """One call of `multi_exponentiate`: units, exponents (outputs, bases), their width in bits."""

    bases: Sequence[mpz]
    exponents: NDArray[np.uint64]
    bits: int


class _Parcel(NamedTuple):
    """A job, or some outputs of one, as bytes for a worker process."""

    bases: bytes
    exponents: bytes
    outputs: int
    bits: int
    modulus: bytes


def multi_exponentiate_all(
    jobs: Sequence[Job], modulus: mpz, tally: Tally, workers: Workers = INLINE
) -> list[list[mpz]]:
    """`multi_exponentiate` of many jobs on all workers; where jobs are few, outputs are shared out too.

    Operations are those of `predict_all` with `parts` = workers.count.
    """
    if workers.count == 1:
        return [multi_exponentiate(job.bases, job.exponents, job.bits, modulus, tally) for job in jobs]
    size = (modulus.bit_length() + 7) // 8
    modulus_bytes = modulus.to_bytes(size, "little")
    parcels, owners = [], []
    for owner, job in enumerate(jobs):
        outputs = _checked(len(job.bases), job.exponents, job.bits)
        bases = pack_numbers(job.bases, size)
        start = 0
        for share in _shares(outputs, len(jobs), workers.count):
            block = np.ascontiguousarray(job.exponents[start : start + share])
            parcels.append(_Parcel(bases, block.tobytes(), share, job.bits, modulus_bytes))
            owners.append(owner)
            start += share
    results: list[list[mpz]] = [[] for _ in jobs]
    for owner, (data, counts) in zip(owners, workers.map(_run_parcel, parcels), strict=True):
        results[owner] += unpack_numbers(data, size)
        tally += counts
    return results


def predict_all(shapes: Sequence[tuple[int, int, int]], parts: int = 1) -> Tally:
    """Operations of `multi_exponentiate_all` for jobs of shape (bases, outputs, bits) on `parts` workers."""
    tally = Tally()
    for bases, outputs, bits in shapes:
        for share in _shares(outputs, len(shapes), parts):
            tally += predict(bases, share, bits)
    return tally


def _shares(outputs: int, jobs: int, parts: int) -> tuple[int, ...]:
    """How the outputs of one of `jobs` jobs are cut so that every worker has something to do."""
    pieces = 1 if jobs >= parts else min(outputs, -(-parts // jobs))
    small, more = divmod(outputs, pieces)
    return (small + 1,) * more + (small,) * (pieces - more)


def _run_parcel(parcel: _Parcel) -> tuple[bytes, dict[str, int]]:
    size = len(parcel.modulus)
    bases = unpack_numbers(parcel.bases, size)
    exponents = np.frombuffer(parcel.exponents, dtype=np.uint64).reshape(parcel.outputs, len(bases))
    tally = Tally()
    results = multi_exponentiate(
        bases, exponents, parcel.bits, mpz.from_bytes(parcel.modulus, "little"), tally
    )
    return pack_numbers(results, size), tally.as_dict()


def pack_numbers(values: Sequence[mpz], size: int) -> bytes:
    """Numbers as fixed-width little-endian bytes, for a worker process of this cloud (never for a peer)."""
    return b"".join([number.to_bytes(size, "little") for number in values])


def unpack_numbers(data: bytes, size: int) -> list[mpz]:
    """The inverse of `pack_numbers`."""
    return [mpz.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


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
        self._n = _root(modulus)
        self._modulus = modulus
        self._bases = pack_numbers(bases, self._size)
        self._digest = hashlib.sha256(self._bases + bytes([group]) + self._n.to_bytes(self._size)).digest()
        self._tables: _GroupTables | None = None
        tally += self.schedule.table_counts(self.count)

    @property
    def _size(self) -> int:
        return int(self._modulus.bit_length() + 7) // 8

    @property
    def memory_bytes(self) -> int:
        """What the tables take in one process: two numbers below N an entry, with Python's overhead."""
        return _table_bytes(self.schedule, self.count, self._n)

    def counts(self, outputs: int, bits: int) -> dict[str, int]:
        """Operations of one `power` (without the tables)."""
        return self.schedule.power_counts(self.count, outputs, bits)

    def power(
        self, exponents: NDArray[np.uint64], bits: int, tally: Tally, workers: Workers = INLINE
    ) -> list[mpz]:
        """prod_t bases[t]^exponents[o, t] for every row o; as `multi_exponentiate`."""
        outputs = _checked(self.count, exponents, bits)
        if workers.count == 1 or outputs == 1:
            results = _with_tables(self._own_tables(), exponents, bits, self.schedule, self._n, self._modulus)
        else:
            parcels, start = [], 0
            for share in _shares(outputs, 1, workers.count):
                block = np.ascontiguousarray(exponents[start : start + share]).tobytes()
                modulus = self._modulus.to_bytes(self._size, "little")
                parcel = _Parcel(self._bases, block, share, bits, modulus)
                parcels.append((self._digest, self.schedule, parcel))
                start += share
            results = []
            for data in workers.map(_run_fixed, parcels):
                results += unpack_numbers(data, self._size)
        tally += self.counts(outputs, bits)
        return results

    def _own_tables(self) -> _GroupTables:
        if self._tables is None:
            bases = unpack_numbers(self._bases, self._size)
            self._tables = _tables(normalise(bases, self._n), self.schedule, self._n)
        return self._tables


OVERHEAD_BYTES = 56
"""Of one mpz in a list: object header, allocation, pointer."""
MAX_CACHED_BYTES = 256 << 20
"""Tables on fixed bases that one worker keeps."""

_cache: OrderedDict[bytes, tuple[_GroupTables, int]] = OrderedDict()
_cache_lock = threading.Lock()


def _run_fixed(order: tuple[bytes, Tables, _Parcel]) -> bytes:
    digest, schedule, parcel = order
    size = len(parcel.modulus)
    modulus = mpz.from_bytes(parcel.modulus, "little")
    n = _root(modulus)
    tables = _cached_tables(digest, schedule, parcel, n)
    count = len(parcel.bases) // size
    exponents = np.frombuffer(parcel.exponents, dtype=np.uint64).reshape(parcel.outputs, count)
    return pack_numbers(_with_tables(tables, exponents, parcel.bits, schedule, n, modulus), size)


def _cached_tables(digest: bytes, schedule: Tables, parcel: _Parcel, n: mpz) -> _GroupTables:
    """This process's tables for one set of bases; sets used longest ago make room."""
    with _cache_lock:
        if digest not in _cache:
            bases = unpack_numbers(parcel.bases, len(parcel.modulus))
            needed = _table_bytes(schedule, len(bases), n)
            while _cache and needed + sum(size for _, size in _cache.values()) > MAX_CACHED_BYTES:
                _cache.popitem(last=False)
            _cache[digest] = _tables(normalise(bases, n), schedule, n), needed
        _cache.move_to_end(digest)
        return _cache[digest][0]


def _table_bytes(schedule: Tables, count: int, n: mpz) -> int:
    entries = sum(1 << (size * schedule.window) for size in schedule.groups(count))
    return entries * 2 * (int(n.bit_length()) // 8 + OVERHEAD_BYTES)
