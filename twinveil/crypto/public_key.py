"""The Paillier public key, ciphertexts that may be sent, and what makes them so.

A ciphertext of m is (1 + m N) rho mod N^2 with a nonce rho, an N-th residue. Every nonce in the system is a
power of one h = (-x^2)^N mod N^2 (Damgard, Jurik, Nielsen, Int. J. Inf. Secur. 2010, section 4.2). With
gcd(p - 1, q - 1) = 2 the units of Jacobi symbol 1 are a cyclic group, and -x^2 generates it or a large part.

Towards the key holder that is not enough: with p and q at hand it sees rho itself. What S1 sends there is
c rho with rho = h^s, s uniform on [0, 2^(|N| + SLACK)): within 2^-SLACK of uniform on <h>, whatever power of
h the nonces inside c are. So the sent nonce is uniform and independent of everything, Jacobi symbols and
smooth parts of p - 1, q - 1 included. That holds only because *every* nonce is a power of the same h: a
single r^N among them would show its residue class modulo <h>. Short exponents (2 kappa bits) serve on the way
to a party without the factors, where indistinguishability is enough; the two kinds of pools cannot be
confused.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn, final

import gmpy2
import phe
from gmpy2 import mpz

from twinveil.crypto.fixed_base import FixedBase, fixed_base
from twinveil.crypto.tally import INVERSE_N, MODMUL_N2, MODMUL_N2_HALF, MUL_N, POWER_N2, Tally
from twinveil.errors import AlreadyUsed, InvalidCiphertext, InvalidKey
from twinveil.parallel import INLINE, Workers
from twinveil.params import KAPPA, Params

SLACK_BITS = 64
"""Full nonce exponents are this much longer than N: 2^20 nonces a query stay within 2^-44 of uniform."""
SHORT_EXPONENT_BITS = 2 * KAPPA
SMALL_PRIMES = gmpy2.primorial(1 << 16)
"""No honest modulus has a factor in common with it."""
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

    def add_plain(self, values: Sequence[mpz], plaintexts: Sequence[int], tally: Tally) -> list[mpz]:
        """E(v + m) from every E(v), with the nonce that it has."""
        modulus, raw = self.n_squared, self.raw
        tally += self.add_plain_counts(len(values))
        return [c * raw(m) % modulus for c, m in zip(values, plaintexts, strict=True)]

    @staticmethod
    def add_plain_counts(count: int) -> dict[str, int]:
        """Operations of `add_plain`."""
        return {MUL_N: count, MODMUL_N2: count}

    def parse(self, data: bytes, count: int, tally: Tally | None = None) -> list[mpz]:
        """`count` ciphertexts of a peer; InvalidCiphertext unless each is a unit below N^2 at full width."""
        width = self.ciphertext_bytes
        if len(data) != count * width:
            raise InvalidCiphertext(f"{count} ciphertexts take {count * width} bytes, not {len(data)}")
        values = [mpz.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]
        self.check(values)
        if tally is not None:
            tally += self.check_counts(count)
        return values

    def check(self, values: Sequence[mpz]) -> None:
        """InvalidCiphertext unless 0 < c < N^2 and gcd(c, N) = 1 for each; one gcd for all of them.

        One decryption of a multiple of p, q or N would give the factorisation away.
        """
        n, modulus = self.n, self.n_squared
        running = mpz(1)
        for value in values:
            if not 0 < value < modulus:
                raise InvalidCiphertext("a ciphertext is not between 0 and N^2")
            running = running * value % n
        if gmpy2.gcd(running, n) != 1:
            raise InvalidCiphertext("a ciphertext is not coprime to N")

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


_MINT = object()
"""What `FreshCiphertexts` asks for; it does not leave this module."""


@final
class FreshCiphertexts:
    """Ciphertexts, each with a fresh nonce of its own: the only type with a wire form.

    Made by a `Rerandomiser` or an `Encryptor`, by nothing else.
    """

    __slots__ = ("_values", "_width")
    _values: tuple[mpz, ...]
    _width: int

    def __init__(self, mint: object, values: Sequence[mpz], width: int) -> None:
        if mint is not _MINT:
            raise TypeError("fresh ciphertexts are made by a Rerandomiser or by encryption only")
        object.__setattr__(self, "_values", tuple(values))
        object.__setattr__(self, "_width", width)

    def to_bytes(self) -> bytes:
        """Fixed width, big endian, one after the other; read by `PublicKey.parse`."""
        return b"".join([value.to_bytes(self._width, "big") for value in self._values])

    def __getitem__(self, part: slice) -> FreshCiphertexts:
        return FreshCiphertexts(_MINT, self._values[part], self._width)

    @staticmethod
    def join(batches: Sequence[FreshCiphertexts]) -> FreshCiphertexts:
        """One batch of all, in order; all under one key."""
        widths = {batch._width for batch in batches}
        if len(widths) != 1:
            raise ValueError("only batches of one key can be joined, and at least one")
        values = [value for batch in batches for value in batch._values]
        return FreshCiphertexts(_MINT, values, widths.pop())

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> NoReturn:
        raise TypeError("fresh ciphertexts are sent, not computed with")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("fresh ciphertexts are immutable")

    def __bool__(self) -> NoReturn:
        raise TypeError("a ciphertext is neither true nor false; ask for len()")

    def __repr__(self) -> str:
        return f"FreshCiphertexts({len(self)} of {self._width} bytes)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("fresh ciphertexts have one wire form, to_bytes()")


Reach = Literal["full", "short"]
"""Of a nonce's exponent: full towards the key holder, short towards a party without the factors."""


def exponent_bits(n_bits: int, reach: Reach) -> int:
    """Length of the exponent of h."""
    return n_bits + SLACK_BITS if reach == "full" else SHORT_EXPONENT_BITS


@final
class NoncePool:
    """Nonces drawn ahead for one key and one reach; each is handed out once, in this process only."""

    __slots__ = ("_lock", "_nonces", "_process", "fingerprint", "reach")

    def __init__(self, fingerprint: str, reach: Reach, nonces: Sequence[mpz] = ()) -> None:
        self.fingerprint = fingerprint
        self.reach = reach
        self._nonces = list(nonces)
        self._process = os.getpid()
        self._lock = threading.Lock()

    def take(self, count: int) -> list[mpz]:
        """`count` nonces, gone from the pool; AlreadyUsed if it has fewer or was copied by a fork."""
        with self._lock:
            self._alive()
            if count > len(self._nonces):
                raise AlreadyUsed(f"{count} nonces are asked for and {len(self._nonces)} are left")
            cut = len(self._nonces) - count
            taken = self._nonces[cut:]
            del self._nonces[cut:]
            return taken

    def take_up_to(self, count: int) -> list[mpz]:
        """As many of `count` nonces as there are."""
        with self._lock:
            self._alive()
            cut = max(len(self._nonces) - count, 0)
            taken = self._nonces[cut:]
            del self._nonces[cut:]
            return taken

    def absorb(self, other: NoncePool) -> None:
        """Take over all that `other` has left."""
        if (self.fingerprint, self.reach) != (other.fingerprint, other.reach):
            raise ValueError("nonces of another key or reach")
        nonces = other.take_up_to(len(other))
        with self._lock:
            self._alive()
            self._nonces += nonces

    def _alive(self) -> None:
        if os.getpid() != self._process:
            raise AlreadyUsed("these nonces belong to the process that drew them")

    def __len__(self) -> int:
        return len(self._nonces)

    def __bool__(self) -> NoReturn:
        raise TypeError("ask a nonce pool for its len()")

    def __repr__(self) -> str:
        return f"NoncePool({len(self)} {self.reach} nonces)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("nonces do not leave their process")


class NonceSource:
    """Draws nonces h^s of one reach, from a window table that each process makes once."""

    reach: ClassVar[Reach]
    __slots__ = ("public_key", "tally")

    def __init__(self, public_key: PublicKey, tally: Tally) -> None:
        self.public_key = public_key
        self.tally = tally

    def prepare(self, workers: Workers = INLINE) -> None:
        """Make the window table now, here and in every worker, and count it (once)."""
        table(self.public_key, self.reach, self.tally)
        if workers.count > 1:
            workers.map(_draw_in_worker, [(self.public_key, self.reach, 1)] * workers.count)

    def nonces(self, count: int, workers: Workers = INLINE) -> NoncePool:
        """A pool of `count` new nonces."""
        return NoncePool(self.public_key.fingerprint, self.reach, self._draw(count, workers))

    def _draw(self, count: int, workers: Workers) -> list[mpz]:
        key = self.public_key
        pieces = min(workers.count, count)
        if pieces <= 1:
            return draw(key, self.reach, count, self.tally)
        shares = [count // pieces + (piece < count % pieces) for piece in range(pieces)]
        width = key.ciphertext_bytes
        drawn: list[mpz] = []
        for data, counts in workers.map(_draw_in_worker, [(key, self.reach, share) for share in shares]):
            drawn += [mpz.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]
            self.tally += counts
        return drawn

    def _multiply(self, values: Sequence[mpz], pool: NoncePool | None, workers: Workers) -> FreshCiphertexts:
        key = self.public_key
        nonces: list[mpz] = []
        if pool is not None:
            if (pool.fingerprint, pool.reach) != (key.fingerprint, self.reach):
                raise ValueError(f"the pool has {pool.reach} nonces or nonces of another key")
            nonces = pool.take_up_to(len(values))
        if len(nonces) < len(values):
            nonces += self._draw(len(values) - len(nonces), workers)
        modulus = key.n_squared
        fresh = [value * nonce % modulus for value, nonce in zip(values, nonces, strict=True)]
        self.tally.add(MODMUL_N2, len(values))
        return FreshCiphertexts(_MINT, fresh, key.ciphertext_bytes)


@final
class Rerandomiser(NonceSource):
    """Makes ciphertexts fit to be sent to the key holder: full nonces, see the top of this file."""

    reach: ClassVar[Reach] = "full"
    __slots__ = ()

    def freshen(
        self, values: Sequence[mpz], nonces: NoncePool | None = None, workers: Workers = INLINE
    ) -> FreshCiphertexts:
        """Each value times a nonce of its own: from the pool as far as it goes, else drawn now."""
        return self._multiply(values, nonces, workers)

    def freshen_fully(self, values: Sequence[mpz]) -> FreshCiphertexts:
        """Each value times r^N, r uniform in Z*_N: the published way, a full power each.

        The sent nonce is uniform over all N-th residues, whatever the nonces inside were, so that it needs no
        common h.
        """
        key = self.public_key
        fresh = []
        for value in values:
            r = mpz(secrets.randbelow(int(key.n)))
            while gmpy2.gcd(r, key.n) != 1:
                r = mpz(secrets.randbelow(int(key.n)))
            fresh.append(value * gmpy2.powmod(r, key.n, key.n_squared) % key.n_squared)
        self.tally += self.freshen_fully_counts(len(fresh))
        return FreshCiphertexts(_MINT, fresh, key.ciphertext_bytes)

    @staticmethod
    def freshen_fully_counts(count: int) -> dict[str, int]:
        """Operations of `freshen_fully`."""
        return {INVERSE_N: count, POWER_N2: count, MODMUL_N2: count}


@final
class Encryptor(NonceSource):
    """Encrypts on the way to a party without the factors: short nonces, so never towards the key holder.

    The key holder encrypts with it, too: its nonces by CRT would be 15 % cheaper (67 us against 80 us at 2048
    bits), at the price of tables that depend on p and q in memory and of no worker processes.
    """

    reach: ClassVar[Reach] = "short"
    __slots__ = ()

    def encrypt(
        self, plaintexts: Sequence[int], nonces: NoncePool | None = None, workers: Workers = INLINE
    ) -> FreshCiphertexts:
        """Fresh encryptions, two multiplications each once a nonce is there."""
        self.tally.add(MUL_N, len(plaintexts))
        return self._multiply([self.public_key.raw(m) for m in plaintexts], nonces, workers)


def table(public_key: PublicKey, reach: Reach, tally: Tally) -> FixedBase:
    """This process's window table on h; made on first use, which the tally counts."""
    bits = exponent_bits(public_key.bits, reach)
    return fixed_base(public_key.h, public_key.n, bits, tally)


def draw(public_key: PublicKey, reach: Reach, count: int, tally: Tally) -> list[mpz]:
    """`count` nonces h^s, s uniform from the operating system."""
    bits = exponent_bits(public_key.bits, reach)
    exponents = [secrets.randbits(bits) for _ in range(count)]
    return table(public_key, reach, Tally()).powers(exponents, tally)


def _draw_in_worker(order: tuple[PublicKey, Reach, int]) -> tuple[bytes, dict[str, int]]:
    public_key, reach, count = order
    tally = Tally()
    width = public_key.ciphertext_bytes
    data = b"".join([nonce.to_bytes(width, "big") for nonce in draw(public_key, reach, count, tally)])
    return data, tally.as_dict()


def encrypt_counts(count: int) -> dict[str, int]:
    """Operations of `Encryptor.encrypt` where the nonces are there."""
    return {MUL_N: count, MODMUL_N2: count}


def nonce_counts(n_bits: int, reach: Reach, count: int) -> dict[str, int]:
    """Operations of `count` nonces, without the table."""
    return FixedBase.power_counts(exponent_bits(n_bits, reach), count)


__all__ = [
    "Encryptor",
    "FreshCiphertexts",
    "NoncePool",
    "PublicKey",
    "Rerandomiser",
    "encrypt_counts",
    "nonce_counts",
]
