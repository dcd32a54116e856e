"""Security parameters: literal, checked, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twinveil.errors import InvalidKey

KAPPA = 128
"""Computational security parameter in bits: labels, OT extension width."""

PACKED_SIGMA = 64
"""Statistical security in bits of the packed engine's masks, one a plaintext: items are made all day, used or
not, and it costs nothing."""

KEY_BITS = 3072
"""Of a new key, where nobody says otherwise: the 128-bit level, as KAPPA."""

MIN_KEY_BITS = 2048
"""The 112-bit level."""

Engine = Literal["packed", "textbook"]
"""How a query is computed."""

MAX_PICTURES = 16
"""Most pictures of one query."""


@dataclass(frozen=True, slots=True)
class Params:
    """What both clouds agree on before any message.

    key_bits: length of the Paillier modulus N. Below MIN_KEY_BITS it is refused unless `insecure_small_key`
        is set, which exists for tests only.
    sigma: statistical security of the textbook engine's masks, in bits, for a whole query or import; the
        packed engine's is PACKED_SIGMA.
    """

    key_bits: int = KEY_BITS
    sigma: int = 40
    insecure_small_key: bool = False

    def __post_init__(self) -> None:
        if self.key_bits < MIN_KEY_BITS and not self.insecure_small_key:
            raise InvalidKey(
                f"a {self.key_bits}-bit key is refused: use at least {MIN_KEY_BITS} bits "
                "(insecure_small_key exists for tests only)"
            )
        if self.key_bits % 16 or not 256 <= self.key_bits <= 8192:
            raise InvalidKey(f"key_bits must be a multiple of 16 from 256 to 8192, not {self.key_bits}")
        if self.sigma < 40 and not self.insecure_small_key:
            raise InvalidKey(f"sigma must be at least 40 bits, not {self.sigma}")
