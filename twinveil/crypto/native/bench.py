"""What the levels of this processor cost beside gmpy2: `python -m twinveil.crypto.native.bench`.

Ratios are of medians of one run in which all levels take turns, so that other work on the machine bends them
little.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Mapping

import gmpy2
import numpy as np
from gmpy2 import mpz

from twinveil.crypto.native.level import GMPY2, available
from twinveil.crypto.native.residues import Modulus, Residues, powers
from twinveil.crypto.native.tables import FixedBase, Tables

ROUNDS = 9
DECRYPTIONS = 16
MANY_DECRYPTIONS = 64
"""What two threads share, so that starting them does not count."""
BASES, OUTPUTS, BITS = 64, 32, 20
"""Of the products from tables."""
NONCES, NONCE_BITS = 128, 296


def prime(bits: int) -> mpz:
    """With both top bits set."""
    return gmpy2.next_prime(mpz(secrets.randbits(bits)) | mpz(3) << (bits - 2))


def medians(works: Mapping[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each, by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def decryptions(p: mpz, q: mpz, level: str, count: int, threads: int = 1) -> Callable[[], object]:
    """x^(p-1) mod p^2 and x^(q-1) mod q^2 for so many ciphertexts."""
    values = [secrets.randbelow(int(p * q) ** 2) for _ in range(count)]
    works: list[tuple[Residues, list[int]]] = []
    for prime in (p, q):
        numbers = Modulus.squared(prime, threads, level).residues([x % prime**2 for x in values])
        works.append((numbers, [int(prime - 1)] * count))
    return lambda: powers(works, int(p.bit_length()))


def nonces(n: mpz, level: str, count: int) -> Callable[[], object]:
    """Powers of one base: table steps and nothing else."""
    base = FixedBase(Modulus.squared(n, 1, level).residues([secrets.randbelow(int(n) ** 2)]), NONCE_BITS)
    exponents = [secrets.randbits(NONCE_BITS) for _ in range(count)]
    return lambda: base.powers(exponents)


def products(n: mpz, level: str) -> Callable[[], object]:
    """Products of powers from tables."""
    modulus = Modulus.squared(n, 1, level)
    bases = modulus.residues([secrets.randbelow(int(n) ** 2) for _ in range(BASES)])
    tables = Tables(bases)
    exponents = np.frombuffer(secrets.token_bytes(8 * OUTPUTS * BASES), np.uint64).reshape(OUTPUTS, BASES)
    exponents = exponents >> np.uint64(64 - BITS)
    return lambda: tables.products(exponents, BITS)


def multiplications(
    n: mpz, level: str, operation: Callable[[Residues, Residues], object]
) -> Callable[[], object]:
    modulus = Modulus.squared(n, 1, level)
    a, b = (modulus.residues([secrets.randbelow(int(n) ** 2) for _ in range(512)]) for _ in range(2))
    return lambda: operation(a, b)


def line(what: str, unit: float, seconds: Mapping[str, float]) -> str:
    """Microseconds of each level, and how many times gmpy2's are each."""
    slowest = seconds[GMPY2]
    shown = [f"{name} {each / unit * 1e6:9.2f} us ({slowest / each:5.2f})" for name, each in seconds.items()]
    return f"{what:30}" + "  ".join(shown)


def main() -> None:
    levels = (*available(), GMPY2)
    print("microseconds of processor time, one thread; in brackets: times faster than gmpy2")
    for bits in (2048, 3072):
        p, q = prime(bits // 2), prime(bits // 2)
        n = p * q
        rows = {
            "decryption": (DECRYPTIONS, {each: decryptions(p, q, each, DECRYPTIONS) for each in levels}),
            "a lone decryption": (1, {each: decryptions(p, q, each, 1) for each in levels}),
            "table step": (NONCES * NONCE_BITS // 8, {each: nonces(n, each, NONCES) for each in levels}),
            "a lone nonce": (1, {each: nonces(n, each, 1) for each in levels}),
            "term of a product": (BASES * OUTPUTS, {each: products(n, each) for each in levels}),
            "multiplication": (512, {each: multiplications(n, each, lambda a, b: a * b) for each in levels}),
            "square": (
                512 * 8,
                {each: multiplications(n, each, lambda a, _: a.squared(8)) for each in levels},
            ),
        }
        for what, (count, works) in rows.items():
            print(line(f"{bits} bits, {what}", count, medians(works, time.thread_time)))
        for each in levels:
            shared = {str(t): decryptions(p, q, each, MANY_DECRYPTIONS, t) for t in (1, 2)}
            seconds = medians(shared, time.perf_counter)
            ratio = seconds["1"] / seconds["2"]
            print(f"{bits} bits, {each}: two threads decrypt {ratio:.2f} times as fast as one")


if __name__ == "__main__":
    main()
