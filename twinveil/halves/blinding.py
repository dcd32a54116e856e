"""Secure outsourcing, the client's side: K*M for weights and pictures, b+r for biases.

The owner and the user send data through the same code. Many values are packed into one plaintext P, in
exact unsigned slots of `bits` bits, with one constant guard bit above them, so that P is never 0 and no
single value can be seen as zero. P is blinded as a whole:

    multiplicative   A = P * M mod N, M uniform in Z*_N      A -> S1,  M^-1 mod N -> S2
    additive         b' = P + r mod N, r uniform in Z_N      b' -> S1, r -> S2

A and b' are uniform and independent of P, so S1's half and S2's half each say nothing alone.
Source: outsourcing step of the published method, with the halves given to different clouds.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import gmpy2
import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.errors import InvalidKey, InvalidMessage, TooMuch
from twinveil.network.plan import IMAGE, Linear, Plan

GUARD_BITS = 1
COUNT_BITS = 16
"""At most 2^COUNT_BITS plaintexts go through one import; its logarithm is part of every mask's width."""


class Blinding(Enum):
    MULTIPLICATIVE = "K*M"
    ADDITIVE = "b+r"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of values that are packed and blinded alike.

    count values of `bits` bits each (unsigned; signed data in offset binary), `per_plaintext` of them in each
    of `plaintexts` plaintexts, the last one filled up with zeros.
    """

    name: str
    blinding: Blinding
    count: int
    bits: int
    per_plaintext: int

    @property
    def plaintexts(self) -> int:
        return -(-self.count // self.per_plaintext)

    @property
    def packed_bits(self) -> int:
        """Width of the values of one plaintext, without the guard."""
        return self.per_plaintext * self.bits

    def plaintext_mask_bits(self, sigma: int) -> int:
        """Width of S1's mask s in P + s, which S2 decrypts: it hides P as a whole, guard and all."""
        return self.packed_bits + _margin(sigma)


def _margin(sigma: int) -> int:
    """Bits of a plaintext's mask beyond those of the values in it."""
    return GUARD_BITS + sigma + COUNT_BITS


def segment(name: str, blinding: Blinding, count: int, bits: int, *, key_bits: int, sigma: int) -> Segment:
    """Lay out `count` values so that P + s stays below N, s of `plaintext_mask_bits`.

    Raises InvalidKey if not even one value fits, TooMuch for more of them than an import takes.
    """
    room = key_bits - 3 - _margin(sigma)
    if room < bits:
        raise InvalidKey(f"{name}: a key of {key_bits} bits has no room for {bits} and masks of {sigma} more")
    made = Segment(name, blinding, count, bits, min(count, room // bits))
    if made.plaintexts > 1 << COUNT_BITS:
        raise TooMuch(f"{name} has more values than one import takes")
    return made


def picture_segment(plan: Plan, pictures: int, *, key_bits: int, sigma: int) -> Segment:
    """The user's query: `pictures` pictures, each in (channels, height, width) order."""
    channels, height, width = plan.image_shape
    count = pictures * channels * height * width
    return segment(IMAGE, Blinding.MULTIPLICATIVE, count, plan.image_bits, key_bits=key_bits, sigma=sigma)


def layer_segments(plan: Plan, node: Linear, *, key_bits: int, sigma: int) -> tuple[Segment, Segment]:
    """The owner's weights and biases of one layer, both in offset binary."""
    shape = plan.weight_shape(node)
    weights = segment(
        "weights",
        Blinding.MULTIPLICATIVE,
        int(np.prod(shape)),
        node.weight_bits,
        key_bits=key_bits,
        sigma=sigma,
    )
    biases = segment(
        "biases", Blinding.ADDITIVE, shape[0], node.accumulator_bits, key_bits=key_bits, sigma=sigma
    )
    return weights, biases


def offset_binary(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint64]:
    """Signed values of `bits` bits as unsigned ones: v + 2^(bits-1)."""
    return (values.reshape(-1) + (1 << (bits - 1))).astype(np.uint64)


def pack(values: npt.NDArray[np.uint64], layout: Segment) -> list[mpz]:
    """Plaintexts P of `layout`, guard bit set. values: (layout.count,), each below 2^layout.bits."""
    if values.shape != (layout.count,) or (values >> np.uint64(layout.bits)).any():
        raise InvalidMessage(f"{layout.name}: {layout.count} values of {layout.bits} bits are wanted")
    padded = np.zeros(layout.plaintexts * layout.per_plaintext, np.uint64)
    padded[: layout.count] = values
    bits = (padded[:, None] >> np.arange(layout.bits, dtype=np.uint64)) & np.uint64(1)
    rows = np.ones((layout.plaintexts, layout.packed_bits + GUARD_BITS), np.uint8)
    rows[:, : layout.packed_bits] = bits.reshape(layout.plaintexts, -1)
    packed = np.packbits(rows, axis=1, bitorder="little")
    return [mpz(int.from_bytes(row.tobytes(), "little")) for row in packed]


def blind(plaintexts: Sequence[mpz], blinding: Blinding, n: mpz) -> tuple[list[mpz], list[mpz]]:
    """S1's halves and S2's halves; every plaintext gets a fresh M or r, used once."""
    blinded, blindings = [], []
    for plaintext in plaintexts:
        if blinding is Blinding.ADDITIVE:
            r = mpz(secrets.randbelow(int(n)))
            blinded.append((plaintext + r) % n)
            blindings.append(r)
        else:
            m = _unit(n)
            blinded.append(plaintext * m % n)
            blindings.append(gmpy2.invert(m, n))
    return blinded, blindings


def blind_values(values: npt.NDArray[np.uint64], layout: Segment, n: mpz) -> tuple[bytes, bytes]:
    """Pack and blind: the two halves in wire form, for S1 and for S2."""
    width = half_bytes(n)
    blinded, blindings = blind(pack(values, layout), layout.blinding, n)
    return encode(blinded, width), encode(blindings, width)


def half_bytes(n: mpz) -> int:
    """Bytes of one blinded plaintext on the wire."""
    return (int(n.bit_length()) + 7) // 8


def encode(values: Sequence[mpz], width: int) -> bytes:
    return b"".join(int(value).to_bytes(width, "big") for value in values)


def decode(data: bytes, layout: Segment, n: mpz) -> list[mpz]:
    """One cloud's half, checked: exact count, below N, not 0 where a product is made of it.

    Raises InvalidMessage. Says nothing about the content: import is total.
    """
    width = half_bytes(n)
    if len(data) != width * layout.plaintexts:
        raise InvalidMessage(
            f"{layout.name}: {layout.plaintexts} blinded plaintexts of {width} bytes are wanted, "
            f"not {len(data)} bytes"
        )
    values = [mpz(int.from_bytes(data[i : i + width], "big")) for i in range(0, len(data), width)]
    lowest = 1 if layout.blinding is Blinding.MULTIPLICATIVE else 0
    if any(not lowest <= value < n for value in values):
        raise InvalidMessage(f"{layout.name}: a blinded plaintext is out of range")
    return values


def _unit(n: mpz) -> mpz:
    """Uniform in Z*_N."""
    while True:
        m = mpz(secrets.randbelow(int(n)))
        if gmpy2.gcd(m, n) == 1:
            return m
