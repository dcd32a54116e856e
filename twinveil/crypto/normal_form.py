"""Ciphertexts as u * (1 + k N) mod N^2 with u, k below N: factors of half the size.

Every unit c of Z/N^2 has exactly one such normal form: u = c mod N and k = (c div N) / u mod N. In a product
of many units the parts 1 + k N only add up,

    prod u_t (1 + k_t N)^e_t = (prod u_t^e_t) * (1 + N sum e_t k_t)   mod N^2,

so that the long loop multiplies by u_t alone, which costs 2.5 us instead of 4.4 us at 2048 bits (measured),
and the sum of the k is one small matrix product. With u^-1 mod N at hand, products of normal forms are
cheap as well, and so are inverses: u u^-1 = 1 + t N, so that (u (1 + k N))^-1 = u^-1 (1 - (k + t) N).
All kernels that use bases more than a few times work on this form.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

LIMB_BITS = 16
FLOAT_BITS = 53
ONE = mpz(1)
ZERO = mpz(0)


class Normal(NamedTuple):
    """u * (1 + k N) mod N^2; `inverse` is u^-1 mod N."""

    u: mpz
    inverse: mpz
    k: mpz


UNIT = Normal(ONE, ONE, ZERO)


def long_unit(n: mpz) -> tuple[mpz, mpz]:
    """1 as (1 + N)(1 + (N - 1) N): u as long as any other, and k.

    A multiplication by 1 is short: an entry of a table that is 1 would tell by the time which digits are 0.
    """
    return n + 1, n - 1


def lengthened(forms: Sequence[Normal], n: mpz) -> tuple[list[mpz], list[mpz]]:
    """The same numbers by factors u + tN, as long as N^2, t random, and the k for them; 1 modmul_n each.

    What a product begins with: begun with such a form of 1, it stays as long as any other.
    """
    t = mpz(secrets.randbelow(int(n)))
    return [form.u + t * n for form in forms], [(form.k - t * form.inverse) % n for form in forms]


NORMALISE_MODMULS = 5
"""Multiplications mod N for each value normalised in a batch (and one inversion a batch)."""
PRODUCT_MODMULS = 3
"""Multiplications mod N for a product of two normal forms."""


def normalise(values: Sequence[mpz], n: mpz) -> list[Normal]:
    """The normal forms of units mod N^2, with one inversion for all (Montgomery's trick).

    Costs 5 len(values) modmul_n (one of them a division alone) and one inverse_n. Raises ZeroDivisionError if
    a value is no unit.
    """
    prefixes = [ONE]
    running = ONE
    parts = [divmod(value, n) for value in values]
    for _, u in parts:
        running = running * u % n
        prefixes.append(running)
    running = gmpy2.invert(running, n)
    forms = []
    for index in range(len(parts) - 1, -1, -1):
        high, u = parts[index]
        inverse = running * prefixes[index] % n
        running = running * u % n
        forms.append(Normal(u, inverse, high * inverse % n))
    forms.reverse()
    return forms


def product(a: Normal, b: Normal, n: mpz) -> Normal:
    """a * b, in 3 modmul_n: u_a u_b = w + q N = w (1 + q w^-1 N)."""
    quotient, u = divmod(a.u * b.u, n)
    inverse = a.inverse * b.inverse % n
    return Normal(u, inverse, (a.k + b.k + quotient * inverse) % n)


def value(u: mpz, k: mpz | int, n: mpz, modulus: mpz) -> mpz:
    """u * (1 + k N) mod N^2 for any u below N^2; counts as one modmul_n."""
    return (u + u * k % n * n) % modulus


def linear_forms(weights: NDArray[np.uint64], values: Sequence[mpz], n: mpz) -> list[mpz]:
    """sum_t weights[o, t] * values[t] as exact integers, for every row o of `weights` (outputs, values).

    One float64 matrix product on 16-bit limbs of the values, exact because every partial sum stays below
    2^53; the weights are cut into as many chunks as that needs.
    """
    outputs, count = weights.shape
    if count == 0:
        return [ZERO] * outputs
    size = -(-n.bit_length() // LIMB_BITS)
    data = b"".join([value.to_bytes(2 * size, "little") for value in values])
    limbs = np.frombuffer(data, dtype="<u2").reshape(count, size).astype(np.float64)
    chunk = FLOAT_BITS - LIMB_BITS - count.bit_length()
    if chunk < 1:
        raise ValueError(f"{count} values are too many for one exact sum")
    longest = int(weights.max(initial=0)).bit_length()
    sums = [ZERO] * outputs
    for shift in range(0, longest, chunk):
        digits = (weights >> np.uint64(shift)) & np.uint64((1 << chunk) - 1)
        columns = (digits.astype(np.float64) @ limbs).astype("<u8")
        for row in range(outputs):
            sums[row] += _carry(columns[row]) << shift
    return sums


def _carry(columns: NDArray[np.uint64]) -> mpz:
    """sum_j columns[j] * 2^(16 j): four integers of non-overlapping 64-bit columns."""
    per_word = 64 // LIMB_BITS
    total = ZERO
    for offset in range(per_word):
        total += mpz.from_bytes(columns[offset::per_word].tobytes(), "little") << (LIMB_BITS * offset)
    return total
