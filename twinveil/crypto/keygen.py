"""Making a key pair (Damgard, Jurik, Nielsen 2010, section 4.2; prime conditions of FIPS 186-5, A.1.3)."""

from __future__ import annotations

import secrets

import gmpy2
from gmpy2 import mpz

from twinveil.crypto.public_key import SMALL_PRIMES, PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.params import Params

PRIME_ROUNDS = 40
"""gmpy2.is_prime: Baillie-PSW and then Miller-Rabin rounds beyond the 24th."""
CLOSENESS_BITS = 100
"""|p - q| > 2^(|p| - 100), against Fermat's factoring."""


def generate(params: Params) -> SecretKey:
    """A new key of exactly `params.key_bits` bits; half a second at 2048 bits, a few seconds at 3072."""
    half = params.key_bits // 2
    while True:
        p, q = _prime(half), _prime(half)
        n, phi = p * q, (p - 1) * (q - 1)
        if abs(p - q) <= mpz(1) << max(half - CLOSENESS_BITS, 0):
            continue
        if gmpy2.gcd(p - 1, q - 1) == 2 and gmpy2.gcd(n, phi) == 1:
            break
    public_key = PublicKey.checked(n, _h(n), params)
    return SecretKey(p, q, public_key)


def _prime(bits: int) -> mpz:
    """A prime, 3 modulo 4, uniform among those with both top bits set: so p q has full length."""
    while True:
        candidate = mpz(secrets.randbits(bits)) | mpz(3) << (bits - 2) | 3
        if gmpy2.gcd(candidate, SMALL_PRIMES) == 1 and gmpy2.is_prime(candidate, PRIME_ROUNDS):
            return candidate


def _h(n: mpz) -> mpz:
    """(-x^2)^N mod N^2 for x uniform in Z*_N."""
    while True:
        x = mpz(secrets.randbelow(int(n)))
        if gmpy2.gcd(x, n) == 1 and x * x % n not in (1, n - 1):
            return gmpy2.powmod(-x * x % n, n, n * n)
