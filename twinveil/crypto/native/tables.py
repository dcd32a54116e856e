"""Products of powers: tables on bases that serve many times, and which way is best for those that serve once.

For every output o, prod_t bases[t]^exponents[o, t] modulo n^2. Bases are brought to a normal form
u (1 + k n), so that a step of the long loops is a multiplication by u < n, half the work; the k only add up.

Tables (Straus 1964, in groups): all products of subsets of up to 8 bases, made once; a step then is one bit
of the exponents of a group. Buckets (Pippenger 1976): exponents are cut into windows, a base goes into the
bucket of its digit, and running products raise bucket d to d. A fixed base h is a table on h, h^2, h^4, ...:
h^s takes a step for each window of s (Brickell, Gordon, McCurley, Wilson, EUROCRYPT 1992).

What is done depends on shapes alone, never on exponents: no step is left out for a digit 0, and no entry of a
table is 1. Which entries are read does depend on them: memory accesses are not hidden. So operations are
known beforehand, and the same at every level: the functions whose names end in `_counts`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import final

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Arithmetic, Rows
from twinveil.crypto.native.residues import Modulus, Residues
from twinveil.crypto.tally import INVERSE_N, MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2

GROUP = 8
"""Bases of a group: 256 products for 8."""
GROUPS_AT_ONCE = 16
"""Whose entries are made together: what is needed only for that is not much more than the tables."""
MAX_BITS = 64
MAX_WINDOW = 8
HALF, FULL, SQUARE, PRODUCT = 4, 5, 3.5, 7
"""What a multiplication by u, one of full size, a square and a product of two normal forms cost, counted in
products of numbers below n (kernel.inc). Constants, so that every machine does the same."""


@final
class Tables:
    """Tables on bases that serve many times: a term then costs bits / group half multiplications."""

    __slots__ = ("_entries", "count")

    def __init__(self, bases: Residues, group: int = GROUP) -> None:
        """ValueError unless there are bases, in groups of 1 to 8; ZeroDivisionError if one is no unit."""
        if not len(bases) or not 1 <= group <= GROUP:
            raise ValueError(f"tables are on one base or more, in groups of 1 to {GROUP}")
        self.count = len(bases)
        self._entries = _Entries(bases, group)

    def products(self, exponents: NDArray[np.uint64], bits: int) -> Residues:
        """prod_t bases[t]^exponents[o, t] for every row o of exponents (outputs, count), below 2^bits.

        ValueError for other shapes and types, or exponents that are longer.
        """
        outputs = checked(exponents, self.count, bits)
        if not outputs:
            return self._entries.modulus.residues([])
        groups, group = self._entries.groups, self._entries.group
        padded = np.zeros((outputs, groups * group, 8), np.uint8)
        padded[:, : self.count] = exponents.astype("<u8").view(np.uint8).reshape(outputs, self.count, 8)
        # (bits, groups, outputs): one bit of every base of a group is an index
        single = np.unpackbits(padded, axis=2, count=bits, bitorder="little")
        single = single.transpose(2, 1, 0).reshape(bits, groups, group, outputs)
        index = np.packbits(single, axis=2, bitorder="little")[:, :, 0]
        steps = index.transpose(1, 0, 2).reshape(groups, bits * outputs)
        return self._entries.products(steps).folded(1, outputs)


@final
class FixedBase:
    """Powers of one base with exponents of at most `bits` bits: a half multiplication for each window.

    Tables take 2^window entries for each window.
    """

    __slots__ = ("_entries", "bits")

    def __init__(self, base: Residues, bits: int, window: int = GROUP) -> None:
        """ValueError unless there is one base and both widths are positive; ZeroDivisionError for no unit."""
        if len(base) != 1 or bits < 1 or window < 1:
            raise ValueError("a fixed base is one number, its exponents and windows have one bit or more")
        self.bits = bits
        powers = [base]
        for _ in range(windows(bits, window) * window - 1):
            powers.append(powers[-1].squared())
        self._entries = _Entries(Residues.joined(powers), window)

    def powers(self, exponents: Sequence[int]) -> Residues:
        """base^s for every s in [0, 2^bits); ValueError for any other."""
        if not all(s >= 0 and int(s).bit_length() <= self.bits for s in exponents):
            raise ValueError(f"an exponent is negative or longer than {self.bits} bits")
        positions, window = self._entries.groups, self._entries.group
        size = -(-positions * window // 8)
        data = b"".join([int(s).to_bytes(size, "little") for s in exponents])
        octets = np.frombuffer(data, np.uint8).reshape(len(exponents), size)
        single = np.unpackbits(octets, axis=1, count=positions * window, bitorder="little")
        places = np.uint32(1) << np.arange(window, dtype=np.uint32)
        return self._entries.products((single.reshape(-1, positions, window) @ places).T)


@final
class _Entries:
    """All products of subsets of the bases of each group: entry sum_i b_i 2^i is prod_i base_i^b_i."""

    __slots__ = ("arithmetic", "group", "groups", "modulus", "rows")

    def __init__(self, bases: Residues, group: int) -> None:
        self.modulus = bases.modulus
        self.arithmetic = bases.modulus.many
        self.groups, self.group = grouped(len(bases), group)
        self.rows = _joint(bases.on(self.arithmetic), self.groups, self.group)

    def products(self, steps: NDArray[np.integer]) -> Residues:
        """For every column of steps (groups, count) the product of those entries, one of each group."""
        starts = np.arange(self.groups, dtype=np.uint32) << np.uint32(self.group)
        rows = self.arithmetic.gather(self.rows, steps.astype(np.uint32) + starts[:, np.newaxis])
        return Residues(self.modulus, self.arithmetic, rows)


def multi_exponentiate(bases: Residues, exponents: NDArray[np.uint64], bits: int) -> Residues:
    """prod_t bases[t]^exponents[o, t] for every row o of exponents (outputs, bases), below 2^bits.

    For bases that serve once. ValueError for shapes that do not fit; ZeroDivisionError if a base is no unit.
    """
    outputs = checked(exponents, len(bases), bits)
    if not outputs:
        return bases.modulus.residues([])
    way, size = best(len(bases), outputs, bits)
    if way == "tables":
        return Tables(bases, size).products(exponents, bits)
    return in_buckets(bases, exponents, bits, size)


def in_buckets(bases: Residues, exponents: NDArray[np.uint64], bits: int, window: int) -> Residues:
    """As `multi_exponentiate`, in buckets by digits of `window` bits."""
    outputs, count = exponents.shape
    arithmetic = bases.modulus.many
    factors = arithmetic.table([arithmetic.normal(bases.on(arithmetic).rows)], count)
    steps = -(-bits // window)
    digits = np.empty((count, steps, outputs), np.uint8)
    for step in range(steps):
        digits[:, step] = (exponents.T >> np.uint64(step * window)) & np.uint64((1 << window) - 1)
    rows = arithmetic.buckets(factors, digits.reshape(count, steps * outputs), 1 << window)
    return Residues(bases.modulus, arithmetic, rows).folded(window, outputs)


def checked(exponents: NDArray[np.uint64], bases: int, bits: int) -> int:
    """The number of outputs; ValueError unless exponents are uint64 (outputs, bases) below 2^bits."""
    if exponents.dtype != np.uint64 or exponents.ndim != 2 or exponents.shape[1] != bases or not bases:
        raise ValueError(f"exponents must be uint64 of shape (outputs, {bases}), for one base or more")
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"exponents have 1 to {MAX_BITS} bits, not {bits}")
    if int(exponents.max(initial=0)).bit_length() > bits:
        raise ValueError(f"an exponent is longer than {bits} bits")
    return len(exponents)


def grouped(count: int, group: int) -> tuple[int, int]:
    """Groups of at most `group` bases that so many are cut into, and bases of one: as even as can be."""
    groups = max(2, -(-count // group))  # one alone could take back its own mask only: 1
    return groups, -(-count // groups)


NORMAL, PRODUCT_N = 5, 3
"""Multiplications modulo n of one normal form, and of a product of two."""


def table_counts(count: int, group: int = GROUP) -> dict[str, int]:
    """Operations that make `Tables`."""
    groups, size = grouped(count, group)
    forms, products = groups * (size + 1) + 1, groups * ((1 << size) - 1)
    return {MODMUL_N: NORMAL * forms + PRODUCT_N * products, INVERSE_N: 1}


def table_entries(count: int, group: int) -> int:
    """Entries of `Tables`, two numbers below n each."""
    groups, size = grouped(count, group)
    return groups << size


def product_counts(count: int, outputs: int, bits: int, group: int = GROUP) -> dict[str, int]:
    """Operations of `Tables.products`."""
    groups, _ = grouped(count, group)
    steps = {MODMUL_N2_HALF: outputs * bits * (groups - 1)}
    return _summed(steps, {MODMUL_N2: outputs * bits}, fold_counts(bits, 1, outputs))


def windows(bits: int, window: int) -> int:
    """Windows of an exponent of a `FixedBase`: a group of tables for each, and two at least."""
    return max(2, -(-bits // window))


def base_entries(bits: int, window: int = GROUP) -> int:
    """Entries of a `FixedBase`, two numbers below n each."""
    return windows(bits, window) << window


def power_counts(count: int, bits: int, window: int = GROUP) -> dict[str, int]:
    """Operations of `FixedBase.powers`."""
    return {MODMUL_N2_HALF: count * (windows(bits, window) - 1), MODMUL_N2: count}


def exponentiation_counts(bases: int, outputs: int, bits: int) -> dict[str, int]:
    """Operations of `multi_exponentiate`."""
    if not outputs:
        return {}
    way, size = best(bases, outputs, bits)
    if way == "tables":
        return _summed(table_counts(bases, size), product_counts(bases, outputs, bits, size))
    steps = -(-bits // size)
    columns = steps * outputs
    counts = {
        MODMUL_N: NORMAL * bases,
        INVERSE_N: 1,
        MODMUL_N2_HALF: columns * bases,
        MODMUL_N2: columns * (2 * ((1 << size) - 2) + 2),
    }
    return _summed(counts, fold_counts(steps, size, outputs))


def fold_counts(parts: int, width: int, count: int = 1) -> dict[str, int]:
    """Operations of `Residues.folded`, of `parts` numbers for each of `count`."""
    return {SQUARE_N2: count * (parts - 1) * width, MODMUL_N2: count * (parts - 1)}


def _summed(*parts: Mapping[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


@lru_cache(maxsize=4096)
def best(bases: int, outputs: int, bits: int) -> tuple[str, int]:
    """The cheapest way for this shape: tables and the size of a group, or buckets and bits of a window."""
    costs: dict[tuple[str, int], float] = {}
    for group in range(1, min(GROUP, bases) + 1):
        groups = -(-bases // group)
        make = groups * ((1 << group) - 1) * PRODUCT
        steps = bits * ((groups - 1) * HALF + SQUARE + 2 * FULL)
        costs["tables", group] = make + outputs * steps
    for window in range(1, min(MAX_WINDOW, bits) + 1):
        steps = -(-bits // window)
        each = bases * HALF + 2 * ((1 << window) - 2) * FULL + 2 * FULL + window * SQUARE
        costs["buckets", window] = outputs * steps * each
    return min(costs, key=lambda way: costs[way])


def _joint(bases: Residues, groups: int, group: int) -> Rows:
    """Entry sum_i b_i 2^i of a group is prod_i base_i^b_i, times a random unit; the last row is 1.

    What the random units make of a product of one entry a group, the first group takes back.
    """
    modulus, arithmetic = bases.modulus, bases.arithmetic
    one = modulus.residues([1]).on(arithmetic).rows
    missing = one.repeat(groups * group - len(bases), axis=0)
    forms = arithmetic.normal(np.concatenate([bases.rows, missing, _masks(modulus, arithmetic, groups), one]))
    factors = forms[: groups * group].reshape(groups, group, -1)

    def parts() -> Iterator[Rows]:
        for start in range(0, groups, GROUPS_AT_ONCE):
            those = slice(start, start + GROUPS_AT_ONCE)
            yield _subsets(arithmetic, forms[groups * group : -1][those], factors[those])
        yield forms[-1:]

    return arithmetic.table(parts(), (groups << group) + 1)


def _subsets(arithmetic: Arithmetic, masks: Rows, factors: Rows) -> Rows:
    """The entries of some groups. factors: (groups, group, a form)."""
    groups, group, width = factors.shape
    table = np.empty((groups, 1 << group, width), factors.dtype)
    table[:, 0] = masks
    for i in range(group):
        so_far = np.ascontiguousarray(table[:, : 1 << i]).reshape(groups << i, -1)
        products = arithmetic.multiply_normal(so_far, np.ascontiguousarray(factors[:, i]))
        table[:, 1 << i : 2 << i] = products.reshape(groups, 1 << i, -1)
    return table.reshape(groups << group, -1)


def _masks(modulus: Modulus, arithmetic: Arithmetic, groups: int) -> Rows:
    """A random unit for every group but the first, which has what makes their product 1."""
    n, squared = modulus.n, modulus.n_squared
    unit = mpz(secrets.randbelow(int(squared)))
    while gmpy2.gcd(unit, n) != 1:
        unit = mpz(secrets.randbelow(int(squared)))
    rest = gmpy2.powmod(gmpy2.invert(unit, squared), groups - 1, squared)
    return modulus.residues([rest] + [unit] * (groups - 1)).on(arithmetic).rows
