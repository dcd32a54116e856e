"""Paillier arithmetic of the textbook engine: phe's, with uniform scalars; nothing here makes a nonce.

Every operation counts itself. phe raises to a scalar above 2N/3 by way of an inverse; both ways count as one
power of N's length, so that a count says nothing about a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import phe
from gmpy2 import mpz

from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import INVERSE_N2, MODMUL_N2, POWER_N2, Tally


class Arithmetic:
    """E(a) + E(b), E(a) * k, E(-a) on ciphertext integers, counted in `tally`."""

    def __init__(self, key: PublicKey, tally: Tally) -> None:
        self.key = key
        self.tally = tally
        self._phe: phe.PaillierPublicKey = key.to_phe()

    def add(self, left: mpz, right: mpz) -> mpz:
        """E(a + b)."""
        self.tally.add(MODMUL_N2)
        return mpz((self._number(left) + self._number(right)).ciphertext(be_secure=False))

    def scale(self, value: mpz, factor: int) -> mpz:
        """E(factor * a). factor is taken modulo N."""
        self.tally.add(POWER_N2)
        return self._times(value, factor)

    def negate(self, value: mpz) -> mpz:
        """E(-a): an inverse."""
        self.tally.add(INVERSE_N2)
        return self._times(value, -1)

    def _times(self, value: mpz, factor: int) -> mpz:
        encoded = phe.EncodedNumber(self._phe, int(factor % self.key.n), 0)
        return mpz((self._number(value) * encoded).ciphertext(be_secure=False))

    def sum(self, values: Sequence[mpz]) -> mpz:
        total = values[0]
        for value in values[1:]:
            total = self.add(total, value)
        return total

    def _number(self, value: mpz) -> phe.EncryptedNumber:
        return phe.EncryptedNumber(self._phe, int(value), 0)
