"""A linear layer on one party's own integers modulo 2^L: floating-point matrix products, exact.

Operands are taken in [-2^(L-1), 2^(L-1)), so that a sum of `taps` products stays within taps 2^(2L-2). Up to
2^53 every partial sum is an integer that a double holds, whatever order the product is made in: so matrix
products, never FFT or Winograd, whose intermediate values are no sums of products. Longer layers cut both
operands in halves of 16 bits; the product of the upper ones is 0 modulo 2^32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinveil.network.plan import Linear
from twinveil.protocol.windows import windows
from twinveil.ring import Words, modulo, signed

Doubles = npt.NDArray[np.float64]

EXACT_BITS = 53
HALF = 16
"""Longer layers have L up to 32 and up to 2^(53 - 2 (HALF - 1)) = 2^23 taps; a plan has fewer of both."""


def exact_at_once(ring: int, taps: int) -> bool:
    """Whether sums of whole products are exact."""
    return 2 * ring - 2 + (taps - 1).bit_length() <= EXACT_BITS


class OwnWeights:
    """One party's share of a layer's weights, ready to be multiplied; kept with the model.

    shares: (out, ...) modulo 2^ring.
    """

    def __init__(self, node: Linear, shares: Words) -> None:
        self.node = node
        self.ring = node.accumulator_bits
        flat = signed(shares.reshape(len(shares), -1), self.ring)
        self._low: Doubles = flat.astype(np.float64)
        self._high: Doubles | None = None
        if not exact_at_once(self.ring, flat.shape[1]):
            self._low, self._high = _halves(flat)

    def sums(self, x: Words) -> Words:
        """conv(x, K) modulo 2^ring: (channels, height, width) -> (out, positions)."""
        values = signed(x[:, np.newaxis], self.ring)
        if self._high is None:
            return _reduced(self._low @ windows(values.astype(np.float64), self.node), self.ring)
        below, above = (windows(half, self.node) for half in _halves(values))
        crossed = _reduced(self._low @ above, self.ring) + _reduced(self._high @ below, self.ring)
        return modulo(_reduced(self._low @ below, self.ring) + (crossed << np.uint64(HALF)), self.ring)


def _halves(values: npt.NDArray[np.int64]) -> tuple[Doubles, Doubles]:
    """low + 2^16 high, low in [-2^15, 2^15)."""
    low = ((values + (1 << (HALF - 1))) & ((1 << HALF) - 1)) - (1 << (HALF - 1))
    return low.astype(np.float64), ((values - low) >> HALF).astype(np.float64)


def _reduced(sums: Doubles, ring: int) -> Words:
    return modulo(sums.astype(np.int64).view(np.uint64), ring)
