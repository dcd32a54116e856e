"""A linear layer modulo 2^L in machine integers, which wrap exactly: what every layout is held against."""

from __future__ import annotations

from twinveil.network.plan import Linear
from twinveil.protocol.windows import windows
from twinveil.ring import Words, modulo


def linear(x: Words, weights: Words, node: Linear) -> Words:
    """x (channels, height, width), no bias -> (out, positions)."""
    sums = weights.reshape(len(weights), -1) @ windows(x[:, None], node)
    return modulo(sums, node.accumulator_bits)
