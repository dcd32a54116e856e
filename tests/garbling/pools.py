"""Max-pooling on wires, one pool at a time: what engines put down as tournaments."""

from __future__ import annotations

from twinveil.garbling.gadgets import maximum
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.windows import pooled


def max_windows(g: Gates, values: Wires, size: int, stride: int, padding: int, signed: bool = False) -> Wires:
    """Maximum over size x size windows: (n, ..., H, W) -> (n, ..., OH, OW). ANDs: 2n a comparison."""
    return pooled(values, size, stride, padding, lambda a, b: maximum(g, a, b, signed))
