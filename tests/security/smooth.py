"""A test key whose nonces can be read completely: p - 1 and q - 1 are products of small primes.

With it the exponent s of every nonce h^s is known modulo the order of h (Pohlig, Hellman, IEEE Trans. Inf.
Theory 1978), which is more than any real key holder can do; whoever finds nothing here finds nothing there.
"""

from __future__ import annotations

import random
from functools import cache, cached_property
from math import prod

import gmpy2
from gmpy2 import mpz

from twinveil.crypto.keygen import _h
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.params import Params

P_PRIMES = (3, 5, 11)
Q_PRIMES = (7, 13, 17)
"""Small factors of p - 1 and of q - 1, for characters of few values."""


class SmoothKey:
    """secret: an ordinary secret key. log(c): s of the nonce h^s of a ciphertext, modulo `order`."""

    def __init__(self, bits: int) -> None:
        source = random.Random(bits)
        primes = [int(each) for each in _primes(100, 1 << 11)]
        source.shuffle(primes)
        half = len(primes) // 2
        self.p, self.p_factors = _smooth_prime(bits // 2, P_PRIMES, primes[:half], source)
        self.q, self.q_factors = _smooth_prime(bits // 2, Q_PRIMES, primes[half:], source)
        n = self.p * self.q
        h = _h(n)
        while not all(_has_full_order(h % p, p, f) for p, f in self._sides):
            h = _h(n)
        public = PublicKey.checked(n, h, Params(bits, insecure_small_key=True))
        self.secret = SecretKey(self.p, self.q, public)
        self.order = 2 * prod(self.p_factors) * prod(self.q_factors)

    @property
    def _sides(self) -> tuple[tuple[mpz, list[int]], tuple[mpz, list[int]]]:
        return (self.p, self.p_factors), (self.q, self.q_factors)

    def jacobi(self, ciphertext: int) -> tuple[int, int]:
        """Quadratic characters of the nonce modulo p and modulo q; equal in <h>."""
        return int(gmpy2.jacobi(ciphertext, self.p)), int(gmpy2.jacobi(ciphertext, self.q))

    def log(self, ciphertext: int) -> int:
        """Raises ValueError if the nonce is no power of h."""
        found, modulus = 0, 1
        for residue, prime in self.characters(ciphertext):
            # Chinese remainders, one prime at a time.
            found += modulus * ((residue - found) * pow(modulus, -1, prime) % prime)
            modulus *= prime
        signs = self.jacobi(ciphertext)
        if signs[0] != signs[1]:
            raise ValueError("the nonce is no power of h")
        odd = signs[0] == -1
        return found if found % 2 == odd else found + modulus

    def characters(self, ciphertext: int) -> list[tuple[int, int]]:
        """(s mod l, l) for every odd prime l of p - 1 and q - 1."""
        return [
            (table[int(gmpy2.powmod(ciphertext, (p - 1) // each, p))], each)
            for p, each, table in self._tables
        ]

    @cached_property
    def _tables(self) -> list[tuple[mpz, int, dict[int, int]]]:
        made = []
        for p, factors in self._sides:
            for each in factors:
                root = gmpy2.powmod(self.secret.public_key.h, (p - 1) // each, p)
                powers, power = {}, mpz(1)
                for exponent in range(each):
                    powers[int(power)] = exponent
                    power = power * root % p
                made.append((p, each, powers))
        return made


@cache
def smooth_key(bits: int = 512) -> SmoothKey:
    return SmoothKey(bits)


def _primes(low: int, high: int) -> list[int]:
    return [each for each in range(low, high) if gmpy2.is_prime(each)]


def _has_full_order(h: mpz, p: mpz, factors: list[int]) -> bool:
    return all(gmpy2.powmod(h, (p - 1) // each, p) != 1 for each in (2, *factors))


def _smooth_prime(
    bits: int, fixed: tuple[int, ...], primes: list[int], source: random.Random
) -> tuple[mpz, list[int]]:
    """p = 2 * odd small primes + 1 of exactly `bits` bits with both top bits set, so 3 modulo 4."""
    while True:
        chosen = list(fixed)
        pool = source.sample(primes, len(primes))
        while (2 * prod(chosen)).bit_length() < bits - 11:
            chosen.append(pool.pop())
        rest = (3 << (bits - 2)) // (2 * prod(chosen)), (4 << (bits - 2)) // (2 * prod(chosen))
        for last in pool:
            if rest[0] < last < rest[1]:
                p = mpz(2 * prod(chosen) * last + 1)
                if p.bit_length() == bits and (p >> (bits - 2)) == 3 and gmpy2.is_prime(p):
                    return p, [*chosen, last]
