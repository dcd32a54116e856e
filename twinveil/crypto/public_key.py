"""The Paillier public key, and ciphertexts of a peer: parsed and checked before anything else.

A ciphertext of m is (1 + m N) rho mod N^2 with a nonce rho, an N-th residue. S2 encrypts, and so S1 computes,
with powers of one h = (-x^2)^N mod N^2 (Damgard, Jurik, Nielsen, Int. J. Inf. Secur. 2010, section 4.2). With
gcd(p - 1, q - 1) = 2 the units of Jacobi symbol 1 are a cyclic group, and -x^2 generates it or a large part.
What S1 sends gets one more nonce, a power of h or, in the textbook engine, r^N: how nonces are drawn, and
which ciphertexts may be sent, is in `nonces`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, final

import gmpy2
import phe
from gmpy2 import mpz

from twinveil.crypto.native.residues import Modulus, Residues
from twinveil.crypto.tally import INVERSE_N, MODMUL_N2, MODMUL_N2_HALF, MUL_N, Tally
from twinveil.errors import InvalidCiphertext, InvalidKey
from twinveil.params import Params

SMALL_PRIMES = gmpy2.primorial(1 << 16)
"""No honest modulus has a factor in common with it."""
_OUT_OF_RANGE = "a ciphertext is not between 0 and N^2"
_NO_UNIT = "a ciphertext is not coprime to N"
_JWK_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,4096}={0,2}")


@final
@dataclass(frozen=True, slots=True)
class PublicKey:
    """N and h. Build one from outside values only by `checked` or `from_jwk`."""

    n: mpz
    h: mpz
    n_squared: mpz = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_squared", self.n * self.n)

    def __repr__(self) -> str:
        return f"PublicKey({self.bits} bits, {self.fingerprint[:16]})"

    @classmethod
    def checked(cls, n: int, h: int, params: Params) -> PublicKey:
        """The key, or InvalidKey with one line on what is wrong with it.

        That N has two prime factors of equal length is the key holder's word: nothing here can show it.
        """
        n, h = mpz(n), mpz(h)
        if n.bit_length() != params.key_bits or n < 0:
            raise InvalidKey(f"the modulus has {n.bit_length()} bits where {params.key_bits} are agreed")
        if n % 2 == 0:
            raise InvalidKey("the modulus is even")
        if gmpy2.gcd(n, SMALL_PRIMES) != 1:
            raise InvalidKey("the modulus has a small prime factor")
        if n % 4 != 1:
            raise InvalidKey("the modulus is not 1 modulo 4, so its factors are not both 3 modulo 4")
        if gmpy2.is_power(n):
            raise InvalidKey("the modulus is a perfect power")
        if gmpy2.is_prime(n):
            raise InvalidKey("the modulus is prime")
        key = cls(n, h)
        if not 0 < h < key.n_squared or gmpy2.gcd(h, n) != 1:
            raise InvalidKey("h is no ciphertext under this modulus")
        if h % n in (1, n - 1):
            raise InvalidKey("h is trivial: it would leave ciphertexts without a nonce")
        return key

    @property
    def bits(self) -> int:
        """Length of N."""
        return int(self.n.bit_length())

    @property
    def ciphertext_bytes(self) -> int:
        """Bytes of one ciphertext on the wire: fixed width, big endian."""
        return 2 * self.bits // 8

    @property
    def plaintext_bits(self) -> int:
        """Plaintexts of that many bits never reach N."""
        return self.bits - 1

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over both numbers at fixed width; what everyone pins."""
        width = self.bits // 8
        data = b"twinveil public key 1" + width.to_bytes(4, "big")
        return hashlib.sha256(
            data + self.n.to_bytes(width, "big") + self.h.to_bytes(2 * width, "big")
        ).hexdigest()

    def raw(self, plaintext: int) -> mpz:
        """1 + (m mod N) N: a ciphertext without a nonce. It hides nothing and cannot be sent."""
        return 1 + plaintext % self.n * self.n

    def modulus(self, threads: int = 1) -> Modulus:
        """Arithmetic modulo N^2 for arrays of ciphertexts, on that many threads of this process."""
        return _modulus(self.n, threads)

    def add_plain(
        self, values: Sequence[mpz], plaintexts: Sequence[int], tally: Tally | None = None
    ) -> list[mpz]:
        """E(v + m) from every E(v), with the nonce that it has."""
        modulus, raw = self.n_squared, self.raw
        if tally is not None:
            tally += self.add_plain_counts(len(values))
        return [c * raw(m) % modulus for c, m in zip(values, plaintexts, strict=True)]

    @staticmethod
    def add_plain_counts(count: int) -> dict[str, int]:
        """Operations of `add_plain`."""
        return {MUL_N: count, MODMUL_N2: count}

    def parse(self, data: bytes, count: int, tally: Tally | None = None) -> list[mpz]:
        """`count` ciphertexts of a peer; InvalidCiphertext unless each is a unit below N^2 at full width."""
        self._check_size(data, count)
        width = self.ciphertext_bytes
        values = [mpz.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]
        self.check(values)
        if tally is not None:
            tally += self.check_counts(count)
        return values

    def parse_array(self, data: bytes, count: int, tally: Tally, threads: int = 1) -> Residues:
        """The same as an array to compute with."""
        self._check_size(data, count)
        try:
            values = self.modulus(threads).from_bytes(data)
        except ValueError:
            raise InvalidCiphertext(_OUT_OF_RANGE) from None
        if not values.coprime():
            raise InvalidCiphertext(_NO_UNIT if all(values.to_ints()) else _OUT_OF_RANGE)
        tally += self.check_counts(count)
        return values

    def _check_size(self, data: bytes, count: int) -> None:
        if len(data) != count * self.ciphertext_bytes:
            raise InvalidCiphertext(
                f"{count} ciphertexts take {count * self.ciphertext_bytes} bytes, not {len(data)}"
            )

    def check(self, values: Sequence[mpz]) -> None:
        """InvalidCiphertext unless 0 < c < N^2 and gcd(c, N) = 1 for each; one gcd for all of them.

        One decryption of a multiple of p, q or N would give the factorisation away.
        """
        n, modulus = self.n, self.n_squared
        running = mpz(1)
        for value in values:
            if not 0 < value < modulus:
                raise InvalidCiphertext(_OUT_OF_RANGE)
            running = running * value % n
        if gmpy2.gcd(running, n) != 1:
            raise InvalidCiphertext(_NO_UNIT)

    @staticmethod
    def check_counts(count: int) -> dict[str, int]:
        """Operations of `check` and `parse`."""
        return {MODMUL_N2_HALF: count, INVERSE_N: 1}

    def to_jwk(self) -> dict[str, Any]:
        """phe's public exchange format with h beside n; phe's own loader reads it and leaves h alone."""
        return {
            "kty": "DAJ",
            "alg": "PAI-GN1",
            "key_ops": ["encrypt"],
            "n": to_base64(self.n),
            "h": to_base64(self.h),
            "kid": f"Twinveil {self.bits}-bit Paillier public key {self.fingerprint[:16]}",
        }

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any], params: Params) -> PublicKey:
        """The inverse of `to_jwk`; InvalidKey for anything else, `checked` as always."""
        if jwk.get("kty") != "DAJ" or jwk.get("alg") != "PAI-GN1":
            raise InvalidKey("this is no Paillier public key (kty DAJ, alg PAI-GN1)")
        return cls.checked(from_base64(jwk.get("n"), "n"), from_base64(jwk.get("h"), "h"), params)

    def to_phe(self) -> phe.PaillierPublicKey:
        """The same modulus for python-paillier."""
        return phe.PaillierPublicKey(int(self.n))


@lru_cache(maxsize=16)
def _modulus(n: mpz, threads: int) -> Modulus:
    return Modulus.squared(n, threads)


def params_of(jwk: Mapping[str, Any], insecure_small_key: bool) -> Params:
    """Parameters for a key of the length that `jwk` has; InvalidKey for a small one, as by Params."""
    return Params(from_base64(jwk.get("n"), "n").bit_length(), insecure_small_key=insecure_small_key)


def to_base64(number: int) -> str:
    """A positive integer as base64url of its big-endian bytes, without padding (RFC 7518, 6.3)."""
    data = int(number).to_bytes((int(number).bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64(text: object, member: str) -> mpz:
    """The inverse of `to_base64`; InvalidKey, naming the member, for anything else."""
    if not isinstance(text, str) or not _JWK_NUMBER.fullmatch(text):
        raise InvalidKey(f"member {member} of the key is missing or not base64url")
    bare = text.rstrip("=")
    if len(bare) % 4 == 1:
        raise InvalidKey(f"member {member} of the key is not base64url")
    return mpz.from_bytes(base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)), "big")
