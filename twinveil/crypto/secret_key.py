"""The Paillier secret key: S2's alone.

Decryption goes by CRT (Paillier, EUROCRYPT 1999, section 7): L(c^(p-1) mod p^2) gives m mod p, likewise q,
and Garner joins them. A fault in one half alone would give the factorisation away to whoever sees the result
and knows m (Boneh, DeMillo, Lipton, EUROCRYPT 1997). So every batch is checked from end to end before it is
returned: with e_i uniform 64-bit integers,

    (prod c_i^e_i)^(p-1)  =  1 - N sum e_i m_i   mod p^2,   and likewise modulo q^2,

because (1 + mN)^(p-1) = 1 - mN mod p^2 and nonces vanish. Let a set of m_i be wrong modulo p: their errors
d_i satisfy sum e_i d_i = 0 mod p with probability at most 2^-64. The check starts from the ciphertexts that
were handed in and ends at the integers that are handed out, so it covers reductions (each is done twice),
powers, L, and recombination; it costs one more power for each prime and batch, and 13 (long batches) to 30
short multiplications a ciphertext and prime. So decrypt in batches: alone, a ciphertext costs twice as much,
and powers fill the lanes of native arithmetic, those modulo p^2 and q^2 side by side.

The exponents p-1 and q-1 are secret: neither time nor memory accesses of a power depend on them, and powers
run in this process, on threads.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, final

import gmpy2
import numpy as np
from gmpy2 import mpz

from twinveil.crypto.native.residues import Modulus, Residues, powers
from twinveil.crypto.native.tables import exponentiation_counts, multi_exponentiate
from twinveil.crypto.nonces import Encryptor, FreshCiphertexts
from twinveil.crypto.public_key import PublicKey, from_base64, params_of, to_base64
from twinveil.crypto.tally import MODMUL_P2, POWER_P2, Tally
from twinveil.errors import InvalidKey, TwinveilError
from twinveil.files import create, open_to_others, sync_folder
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.values import read_json

CHECK_BITS = 64
"""A wrong plaintext passes the check with probability 2^-64."""
MAX_FILE_BYTES = 1 << 16


@final
class SecretKey:
    """p and q with the public key; made by `keygen.generate`, `load` or `from_jwk`, which check.

    `operations` counts ciphertexts that met a secret exponent: it stays 0 as long as only malformed input
    comes.
    """

    __slots__ = (
        "_encryptor",
        "_halves",
        "_lock",
        "_p",
        "_p_inverse",
        "_q",
        "operations",
        "public_key",
        "tally",
    )

    def __init__(self, p: mpz, q: mpz, public_key: PublicKey, *, tally: Tally | None = None) -> None:
        _check(p, q, public_key)
        self.public_key = public_key
        self.operations = 0
        self.tally = Tally() if tally is None else tally
        self._lock = threading.Lock()
        self._p, self._q = p, q
        self._p_inverse = gmpy2.invert(p, q)
        # L(g^(p-1)) = (p-1) q = -q mod p
        self._halves = ((p, gmpy2.invert(-q, p)), (q, gmpy2.invert(-p, q)))
        self._encryptor = Encryptor(public_key, self.tally)

    def decrypt(self, values: Sequence[mpz], workers: Workers = INLINE) -> list[mpz]:
        """Plaintexts in [0, N), in order; the powers run on `workers.count` threads of this process.

        InvalidCiphertext, before any power is taken, if a value is no unit below N^2. TwinveilError if the
        result does not pass its check; nothing is returned then.
        """
        if not values:
            return []
        self.public_key.check(values)
        self.tally += self.public_key.check_counts(len(values))
        with self._lock:
            self.operations += len(values)
        raised = self._raise(self._reduced(values, workers.count))
        residues = [
            [(y - 1) // prime * factor % prime for y in each.to_ints()]
            for each, (prime, factor) in zip(raised, self._halves, strict=True)
        ]
        p, q, p_inverse = self._p, self._q, self._p_inverse
        plaintexts = [a + (b - a) * p_inverse % q * p for a, b in zip(*residues, strict=True)]
        self._verify(values, plaintexts)
        return plaintexts

    def encrypt(self, plaintexts: Sequence[int], workers: Workers = INLINE) -> FreshCiphertexts:
        """Fresh encryptions of the plaintexts modulo N, for a party without the factors."""
        return self._encryptor.encrypt(plaintexts, workers)

    def _reduced(self, values: Sequence[mpz], threads: int = 1) -> list[Residues]:
        """The ciphertexts modulo p^2, and modulo q^2."""
        moduli = [Modulus.squared(prime, threads) for prime, _ in self._halves]
        return [modulus.residues([c % modulus.n_squared for c in values]) for modulus in moduli]

    def _raise(self, numbers: Sequence[Residues]) -> list[Residues]:
        """To p - 1 and to q - 1."""
        works = [
            (each, [int(prime - 1)] * len(each))
            for each, (prime, _) in zip(numbers, self._halves, strict=True)
        ]
        self.tally.add(POWER_P2, sum(len(each) for each in numbers))
        return powers(works, self.public_key.bits // 2)

    def _verify(self, values: Sequence[mpz], plaintexts: Sequence[mpz]) -> None:
        weights = np.frombuffer(os.urandom(CHECK_BITS // 8 * len(values)), dtype=np.uint64)[np.newaxis]
        total = sum((int(e) * m for e, m in zip(weights[0], plaintexts, strict=True)), mpz(0))
        products = [multi_exponentiate(each, weights, CHECK_BITS) for each in self._reduced(values)]
        self.tally.add(MODMUL_P2, 2 * _check_count(len(values)))
        for raised in self._raise(products):
            if raised.to_ints()[0] != (1 - self.public_key.n * total) % raised.modulus.n_squared:
                raise TwinveilError(
                    "a decryption did not pass its check, so nothing was returned: test this machine's memory"
                )

    @staticmethod
    def decrypt_counts(count: int) -> dict[str, int]:
        """Operations of one `decrypt`, check included."""
        if not count:
            return {}
        powers = {POWER_P2: 2 * (count + 1), MODMUL_P2: 2 * _check_count(count)}
        return powers | PublicKey.check_counts(count)

    def __repr__(self) -> str:
        return f"SecretKey({self.public_key.bits} bits, redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled; save() writes it to a file of its own")

    def __copy__(self) -> NoReturn:
        raise TypeError("a secret key is not copied")

    def __deepcopy__(self, _: object) -> NoReturn:
        raise TypeError("a secret key is not copied")

    def to_jwk(self) -> dict[str, Any]:
        """phe's private exchange format, with h in its public part. It is the secret itself."""
        return {
            "kty": "DAJ",
            "key_ops": ["decrypt"],
            "p": to_base64(self._p),
            "q": to_base64(self._q),
            "pub": self.public_key.to_jwk(),
            "kid": f"Twinveil {self.public_key.bits}-bit Paillier private key",
        }

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any], params: Params) -> SecretKey:
        """The inverse of `to_jwk`; InvalidKey if any number is not what it has to be."""
        if jwk.get("kty") != "DAJ" or not isinstance(jwk.get("pub"), Mapping):
            raise InvalidKey("this is no Paillier private key (kty DAJ)")
        public_key = PublicKey.from_jwk(jwk["pub"], params)
        p, q = from_base64(jwk.get("p"), "p"), from_base64(jwk.get("q"), "q")
        return cls(p, q, public_key)

    def save(self, path: Path) -> None:
        """Write the key to a new file of mode 0600, complete or not at all; an existing file is kept.

        Raises InvalidKey if there is a file already, OSError if it cannot be written.
        """
        try:
            create(path, json.dumps(self.to_jwk(), indent=1).encode() + b"\n")
        except FileExistsError:
            raise InvalidKey(f"{path.name} exists: a secret key is never overwritten") from None
        if path.stat().st_mode & 0o077:
            path.unlink()
            raise InvalidKey(f"{path.parent} keeps no permissions: others could read the secret key there")
        sync_folder(path.parent)

    @classmethod
    def load(cls, path: Path, *, insecure_small_key: bool = False) -> SecretKey:
        """The key of a file, of its own length; InvalidKey if others may read it or anything is wrong."""
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise InvalidKey(f"{open_to_others(path)}; or make a new key")
            data = file.read(MAX_FILE_BYTES + 1)
        try:
            jwk = read_json(data) if len(data) <= MAX_FILE_BYTES else None
        except (ValueError, RecursionError):
            jwk = None
        if not isinstance(jwk, dict) or not isinstance(jwk.get("pub"), dict):
            raise InvalidKey(f"{path.name} is no secret key file")
        return cls.from_jwk(jwk, params_of(jwk["pub"], insecure_small_key))


def _check_count(count: int) -> int:
    """Multiplications of whatever kind modulo p^2 that check so many decryptions; as many modulo q^2."""
    return sum(exponentiation_counts(count, 1, CHECK_BITS).values())


def _check(p: mpz, q: mpz, public_key: PublicKey) -> None:
    """InvalidKey unless p and q are what `keygen.generate` makes and belong to this N and h."""
    h, half = public_key.h, public_key.bits // 2
    if p * q != public_key.n:
        raise InvalidKey("p q is not the modulus")
    if p == q or p.bit_length() != half or q.bit_length() != half:
        raise InvalidKey("p and q are not two numbers of half the length of the modulus")
    if p % 4 != 3 or q % 4 != 3:
        raise InvalidKey("p and q are not both 3 modulo 4")
    if not gmpy2.is_prime(p) or not gmpy2.is_prime(q):
        raise InvalidKey("p and q are not both prime")
    if gmpy2.gcd(p - 1, q - 1) != 2:
        raise InvalidKey("p - 1 and q - 1 share more than the factor 2")
    if gmpy2.gcd(public_key.n, (p - 1) * (q - 1)) != 1:
        raise InvalidKey("the modulus and phi share a factor")
    # (-x^2)^N: an N-th residue, and no square modulo either prime
    for prime in (p, q):
        if gmpy2.powmod_sec(h, prime - 1, prime * prime) != 1 or gmpy2.jacobi(h, prime) != -1:
            raise InvalidKey("h is not an N-th power of minus a square")
