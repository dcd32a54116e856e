"""Paillier arithmetic of the textbook engine: phe's, with full-length r^N and uniform scalars."""

from __future__ import annotations

from collections.abc import Sequence

import phe
from gmpy2 import mpz

from twinveil.crypto.public_key import PublicKey


class Arithmetic:
    """E(a) + E(b), E(a) * k, E(m) on ciphertext integers, counted by number of operations."""

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self._phe: phe.PaillierPublicKey = key.to_phe()

    def encrypt(self, message: int) -> mpz:
        """A fresh encryption of message mod N: r uniform, r^N at full length."""
        return mpz(self._phe.raw_encrypt(int(message % self.key.n)))

    def add(self, left: mpz, right: mpz) -> mpz:
        return mpz((self._number(left) + self._number(right)).ciphertext(be_secure=False))

    def scale(self, value: mpz, factor: int) -> mpz:
        """E(factor * a). factor is taken modulo N."""
        encoded = phe.EncodedNumber(self._phe, int(factor % self.key.n), 0)
        return mpz((self._number(value) * encoded).ciphertext(be_secure=False))

    def sum(self, values: Sequence[mpz]) -> mpz:
        total = values[0]
        for value in values[1:]:
            total = self.add(total, value)
        return total

    def _number(self, value: mpz) -> phe.EncryptedNumber:
        return phe.EncryptedNumber(self._phe, int(value), 0)
