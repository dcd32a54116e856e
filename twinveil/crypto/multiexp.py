"""Products of powers: for every output o, prod_t bases[t]^exponents[o, t] mod N^2.

This is where a linear layer spends its time: bases are ciphertexts, exponents are short integers, and many
outputs share the same bases. Two schedules, both on normal forms (see normal_form), so that each step of the
long loop is a multiplication by a number below N:

buckets (Pippenger 1976; Bernstein, Doumen, Lange, Oosterwijk, INDOCRYPT 2012, section 4): exponents are cut
    into signed windows; for each output and window a base or its inverse goes to the bucket of its digit, and
    a running product raises bucket d to d. Good for many bases: windows + 2 buckets/bases steps a term.
tables (Straus 1964, in groups): for each group of bases all products of digits of one window are made once
    for all outputs; a window of a group is one multiplication. Good for few bases and many outputs, and for
    bases that never change (`multiexp_fixed`).

Which schedule, and its windows, follow from (bases, outputs, bits) alone, and no step is left out for a zero
digit. So counts are exact and known beforehand (`predict`), and neither the order of operations nor the
length of an operand depends on the exponents: where 1 would stand, in a table or an empty bucket, stands a
long form of it. Which operands are touched does depend on them (memory access is not hidden).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.multiexp_schedule import MAX_BITS, Buckets, Tables, choose, operation_count, predict
from twinveil.crypto.normal_form import (
    ONE,
    UNIT,
    Normal,
    lengthened,
    linear_forms,
    long_unit,
    normalise,
    product,
    value,
)
from twinveil.crypto.tally import MODMUL_N2, SQUARE_N2, Tally
from twinveil.parallel import INLINE, Workers

__all__ = [
    "Buckets",
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
    n = root(modulus)
    outputs = checked_outputs(len(bases), exponents, bits)
    schedule = schedule or choose(len(bases), outputs, bits)
    forms = normalise(bases, n)
    if isinstance(schedule, Buckets):
        results = _with_buckets(forms, exponents, bits, schedule, n, modulus)
    else:
        tables = group_tables(forms, schedule, n)
        results = with_tables(tables, exponents, bits, schedule, n, modulus)
    tally += schedule.counts(len(bases), outputs, bits)
    return results


def root(modulus: mpz) -> mpz:
    """N of N^2; ValueError for anything else."""
    n, rest = gmpy2.isqrt_rem(modulus)
    if rest:
        raise ValueError("the modulus is not the square of N")
    return n


def checked_outputs(bases: int, exponents: NDArray[np.uint64], bits: int) -> int:
    """The number of outputs; ValueError unless exponents are uint64 (outputs, bases) below 2^bits."""
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
    factors, empty = [form.u for form in forms], modulus - n + 1
    digits, negatives = signed_digits(exponents, bits, schedule.windows)
    sums = linear_forms(exponents, [form.k for form in forms], n)
    if schedule.signed:
        factors += [form.inverse for form in forms]
        # (u (1 + kN))^-1 = u^-1 (1 - (k + t)N): every negative digit owes its weight times t
        owed = linear_forms(negatives, [form.u * form.inverse // n for form in forms], n)
        sums = [have - owe for have, owe in zip(sums, owed, strict=True)]
    places = [np.abs(digit) for digit in digits]
    chosen = [np.arange(count) + count * (digit < 0) for digit in digits]
    results, sizes = [], schedule.sizes(bits)
    # Each bucket d begins at 1 - N, and is raised to d
    begun = sum(
        size * (size + 1) // 2 << sum(schedule.windows[step + 1 :]) for step, size in enumerate(sizes)
    )
    for row, k in enumerate(sums):
        accumulator = ONE
        for step, size in enumerate(sizes):
            raised = _raise(
                factors, places[step][row].tolist(), chosen[step][row].tolist(), size, empty, modulus
            )
            if step:
                for _ in range(schedule.windows[step]):
                    accumulator = accumulator * accumulator % modulus
                accumulator = accumulator * raised % modulus
            else:
                accumulator = raised
        results.append(value(accumulator, k + begun, n, modulus))
    return results


def _raise(
    factors: list[mpz], places: list[int], chosen: list[int], size: int, empty: mpz, modulus: mpz
) -> mpz:
    """prod_t factors[chosen[t]]^places[t] times empty^(1 + ... + size), what an empty bucket holds.

    Bucket 0 takes what has digit 0 and is dropped.
    """
    buckets = [empty] * (size + 1)
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
class GroupTables:
    """For every group its products of digits: half-size factors, of the first full ones, and their k."""

    factors: list[list[mpz]]
    ks: list[list[mpz]]


def group_tables(forms: Sequence[Normal], schedule: Tables, n: mpz) -> GroupTables:
    """Entry sum_i d_i 2^(window i) of a group is prod_i base_i^d_i; no entry is short."""
    unit, unit_k = long_unit(n)
    factors: list[list[mpz]] = []
    ks: list[list[mpz]] = []
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
        if factors:
            factors.append([unit, *(entry.u for entry in table[1:])])
            ks.append([unit_k, *(entry.k for entry in table[1:])])
        else:
            first, first_ks = lengthened(table, n)
            factors.append(first)
            ks.append(first_ks)
    return GroupTables(factors, ks)


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


def with_tables(
    tables: GroupTables,
    exponents: NDArray[np.uint64],
    bits: int,
    schedule: Tables,
    n: mpz,
    modulus: mpz,
) -> list[mpz]:
    """prod_t bases[t]^exponents[o, t] for every row o, from the tables on these bases."""
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


class Parcel(NamedTuple):
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
        outputs = checked_outputs(len(job.bases), job.exponents, job.bits)
        bases = pack_numbers(job.bases, size)
        start = 0
        for share in shares(outputs, len(jobs), workers.count):
            block = np.ascontiguousarray(job.exponents[start : start + share])
            parcels.append(Parcel(bases, block.tobytes(), share, job.bits, modulus_bytes))
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
        for share in shares(outputs, len(shapes), parts):
            tally += predict(bases, share, bits)
    return tally


def shares(outputs: int, jobs: int, parts: int) -> tuple[int, ...]:
    """How the outputs of one of `jobs` jobs are cut so that every worker has something to do."""
    pieces = 1 if jobs >= parts else min(outputs, -(-parts // jobs))
    small, more = divmod(outputs, pieces)
    return (small + 1,) * more + (small,) * (pieces - more)


def _run_parcel(parcel: Parcel) -> tuple[bytes, dict[str, int]]:
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
