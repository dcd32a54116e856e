"""Nonces, and the ciphertexts that may be sent because of them.

The key holder, with p and q at hand, sees the nonce itself. What S1 sends there is c rho, rho in one of two
forms, both independent of everything, Jacobi symbols and smooth parts of p - 1, q - 1 included:

h^s   h the public key's, s uniform on [0, 2^(|N| + SLACK)): within 2^-SLACK of uniform on <h>, whatever power
      of h the nonces inside c are. That holds only because *every* nonce inside is a power of the same h: a
      single r^N among them would show its residue class modulo <h>.
r^N   r uniform in Z*_N, in the textbook engine's steps: uniform on all N-th residues, whatever the nonces
      inside c are. So it is sound alone, and needs no common h.

The two never meet in one ciphertext: whatever S1 computes with came from S2 under powers of h, and what is
fresh is sent and not computed with.

Short exponents of h serve on the way to a party without the factors, where indistinguishability is enough.
Damgard, Jurik and Nielsen (2010, section 4.2) draw |N|/2 bits
there; 2 kappa bits rest on the short-exponent assumption besides (Koshiba, Kurosawa, PKC 2004, for groups of
prime order).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from typing import ClassVar, Literal, NoReturn, final

import gmpy2
from gmpy2 import mpz

from twinveil.crypto.native.residues import Residues
from twinveil.crypto.native.tables import FixedBase, power_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import INVERSE_N, MODMUL_N2, MUL_N, POWER_N2, Tally
from twinveil.parallel import INLINE, Workers
from twinveil.params import KAPPA

Reach = Literal["full", "short"]
"""Of a nonce's exponent: full towards the key holder, short towards a party without the factors."""
SLACK_BITS = 64
"""Full nonce exponents are this much longer than N: 2^20 nonces a query stay within 2^-44 of uniform."""
SHORT_EXPONENT_BITS = 2 * KAPPA
WINDOW: dict[Reach, int] = {"full": 8, "short": 11}
"""Bits of an exponent that a table serves at once. At 2048 bits: 43 MB for full nonces, where 10 bits would
take 139 to save a fifth of the steps; 35 MB for short ones, of which an item has most, for 27 steps, not 37.
"""

_MINT = object()
"""What `FreshCiphertexts` asks for; it does not leave this module."""


@final
class FreshCiphertexts:
    """Ciphertexts, each with a fresh nonce of its own: the only type with a wire form.

    Made by a `Rerandomiser` or an `Encryptor`, by nothing else.
    """

    __slots__ = ("_values",)
    _values: Residues

    def __init__(self, mint: object, values: Residues) -> None:
        if mint is not _MINT:
            raise TypeError("fresh ciphertexts are made by a Rerandomiser or by encryption only")
        object.__setattr__(self, "_values", values)

    def to_bytes(self) -> bytes:
        """Fixed width, big endian, one after the other; read by `PublicKey.parse`."""
        return self._values.to_bytes()

    def __getitem__(self, part: slice) -> FreshCiphertexts:
        return FreshCiphertexts(_MINT, self._values[part])

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> NoReturn:
        raise TypeError("fresh ciphertexts are sent, not computed with")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("fresh ciphertexts are immutable")

    def __bool__(self) -> NoReturn:
        raise TypeError("a ciphertext is neither true nor false; ask for len()")

    def __repr__(self) -> str:
        return f"FreshCiphertexts({len(self)} of {self._values.modulus.size} bytes)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("fresh ciphertexts have one wire form, to_bytes()")


def exponent_bits(n_bits: int, reach: Reach, more: int = 0) -> int:
    """Length of the exponent of h."""
    return (n_bits + SLACK_BITS if reach == "full" else SHORT_EXPONENT_BITS) + more


class NonceSource:
    """Draws nonces h^s of one reach, from a window table that each process makes once.

    more: bits by which exponents are longer than their reach asks for.
    """

    reach: ClassVar[Reach]
    __slots__ = ("more", "public_key", "tally")

    def __init__(self, public_key: PublicKey, tally: Tally, more: int = 0) -> None:
        if more < 0:
            raise ValueError("exponents are never shorter than their reach asks for")
        self.public_key = public_key
        self.tally = tally
        self.more = more

    def _draw(self, count: int, workers: Workers) -> Residues:
        key = self.public_key
        pieces = min(workers.count, count)
        if not workers.apart or pieces <= 1:
            return draw(key, self.reach, count, self.tally, self.more, workers.here)
        shares = [count // pieces + (piece < count % pieces) for piece in range(pieces)]
        orders = [(key, self.reach, share, self.more) for share in shares]
        drawn = key.modulus().from_bytes(b"".join(workers.map(_draw_in_worker, orders)))
        self.tally += nonce_counts(key.bits, self.reach, count, self.more)
        return drawn

    def _multiply(self, values: Residues | Sequence[mpz], workers: Workers) -> FreshCiphertexts:
        if not isinstance(values, Residues):
            values = self.public_key.modulus(workers.here).residues(values)
        nonces = self._draw(len(values), workers)
        if len(nonces) != len(values):
            raise ValueError(f"{len(nonces)} nonces do not go with {len(values)} ciphertexts")
        self.tally.add(MODMUL_N2, len(values))
        return FreshCiphertexts(_MINT, values * nonces)


@final
class Rerandomiser(NonceSource):
    """Makes ciphertexts fit to be sent to the key holder: full nonces, see the top of this file."""

    reach: ClassVar[Reach] = "full"
    __slots__ = ()

    def freshen(self, values: Residues | Sequence[mpz], workers: Workers = INLINE) -> FreshCiphertexts:
        """Each value times a nonce of its own."""
        return self._multiply(values, workers)

    def freshen_fully(self, values: Sequence[mpz]) -> FreshCiphertexts:
        """Each value times r^N, r uniform in Z*_N: the published way, a full power each.

        Sound alone and never mixed with h^s, see the top of this file.
        """
        key = self.public_key
        fresh = []
        for value in values:
            r = mpz(secrets.randbelow(int(key.n)))
            while gmpy2.gcd(r, key.n) != 1:
                r = mpz(secrets.randbelow(int(key.n)))
            fresh.append(value * gmpy2.powmod(r, key.n, key.n_squared) % key.n_squared)
        self.tally += self.freshen_fully_counts(len(fresh))
        return FreshCiphertexts(_MINT, key.modulus().residues(fresh))

    @staticmethod
    def freshen_fully_counts(count: int) -> dict[str, int]:
        """Operations of `freshen_fully`."""
        return {INVERSE_N: count, POWER_N2: count, MODMUL_N2: count}


@final
class Encryptor(NonceSource):
    """Encrypts on the way to a party without the factors: short nonces, so never towards the key holder.

    The key holder encrypts with it, too: its nonces by CRT would be 15 % cheaper (67 us against 80 us at 2048
    bits by gmpy2), at the price of tables that depend on p and q in memory.
    """

    reach: ClassVar[Reach] = "short"
    __slots__ = ()

    def encrypt(self, plaintexts: Sequence[int], workers: Workers = INLINE) -> FreshCiphertexts:
        """Fresh encryptions, two multiplications each once a nonce is there."""
        nonces = self._draw(len(plaintexts), workers)
        self.tally += encrypt_counts(len(plaintexts))
        return FreshCiphertexts(_MINT, nonces.add_plain(plaintexts))


_tables: dict[tuple[mpz, mpz, Reach, int, int], FixedBase] = {}
_lock = threading.Lock()


def table(public_key: PublicKey, reach: Reach, more: int = 0, threads: int = 1) -> FixedBase:
    """This process's window table on h; made on first use, counted nowhere, and kept for good."""
    bits = exponent_bits(public_key.bits, reach, more)
    key = (public_key.n, public_key.h, reach, bits, threads)
    with _lock:
        if key not in _tables:
            h = public_key.modulus(threads).residues([public_key.h])
            _tables[key] = FixedBase(h, bits, WINDOW[reach])
        return _tables[key]


def draw(
    public_key: PublicKey, reach: Reach, count: int, tally: Tally, more: int = 0, threads: int = 1
) -> Residues:
    """`count` nonces h^s, s uniform from the operating system."""
    bits = exponent_bits(public_key.bits, reach, more)
    exponents = [secrets.randbits(bits) for _ in range(count)]
    tally += nonce_counts(public_key.bits, reach, count, more)
    return table(public_key, reach, more, threads).powers(exponents)


def _draw_in_worker(order: tuple[PublicKey, Reach, int, int]) -> bytes:
    public_key, reach, count, more = order
    return draw(public_key, reach, count, Tally(), more).to_bytes()


def encrypt_counts(count: int) -> dict[str, int]:
    """Operations of `Encryptor.encrypt` beside those of its nonces."""
    return {MUL_N: count, MODMUL_N2: count}


def nonce_counts(n_bits: int, reach: Reach, count: int, more: int = 0) -> dict[str, int]:
    """Operations of `count` nonces, without the table."""
    return power_counts(count, exponent_bits(n_bits, reach, more), WINDOW[reach])
