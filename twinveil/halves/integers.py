"""What owner and user cut in two for the textbook engine: integers, packed and blinded (blinding.py).

A model's half is every layer's weights, then every layer's biases; a query's d*M or M^-1 of every plaintext.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.halves.blinding import (
    Segment,
    blind_values,
    decode,
    half_bytes,
    layer_segments,
    offset_binary,
    picture_segment,
)
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.params import Params

Half = Mapping[str, tuple[Sequence[mpz], Sequence[mpz]]]


def model_segments(plan: Plan, params: Params) -> list[tuple[str, int, Segment]]:
    """(layer, 0 for weights or 1 for biases, segment) in the order of the wire."""
    pairs = [
        (node.name, layer_segments(plan, node, key_bits=params.key_bits, sigma=params.sigma))
        for node in plan.linear_nodes
    ]
    return [(name, which, pair[which]) for which in (0, 1) for name, pair in pairs]


def model_bytes(plan: Plan, params: Params) -> int:
    """Of one cloud's half. Raises TooMuch for more than an import takes."""
    return sum(segment.plaintexts for _, _, segment in model_segments(plan, params)) * (params.key_bits // 8)


def blind_model(model: QuantisedModel, params: Params, n: mpz) -> tuple[bytes, bytes]:
    """S1's half (K*M, b+r) and S2's half (M^-1, r) in wire form."""
    pairs = []
    for name, which, segment in model_segments(model.plan, params):
        values = (model.weights, model.biases)[which][name]
        unsigned = offset_binary(np.asarray(values, np.int64), segment.bits)
        pairs.append(blind_values(unsigned, segment, n))
    return b"".join(pair[0] for pair in pairs), b"".join(pair[1] for pair in pairs)


def read_model_half(plan: Plan, params: Params, n: mpz, data: bytes) -> Half:
    """One cloud's half, checked value by value. Raises InvalidMessage."""
    found: dict[str, list[Sequence[mpz]]] = {}
    width, start = half_bytes(n), 0
    for name, _, segment in model_segments(plan, params):
        size = segment.plaintexts * width
        found.setdefault(name, []).append(decode(data[start : start + size], segment, n))
        start += size
    return {name: (weights, biases) for name, (weights, biases) in found.items()}


def blind_pictures(images: npt.NDArray[np.uint8], plan: Plan, params: Params, n: mpz) -> tuple[bytes, bytes]:
    """The user's halves of its pictures (pictures, channels, height, width): d*M for S1, M^-1 for S2."""
    layout = picture_segment(plan, len(images), key_bits=params.key_bits, sigma=params.sigma)
    return blind_values(images.reshape(-1).astype(np.uint64), layout, n)


def read_picture_half(plan: Plan, pictures: int, params: Params, n: mpz, data: bytes) -> list[mpz]:
    """Raises InvalidMessage for another size, or a residue out of range."""
    layout = picture_segment(plan, pictures, key_bits=params.key_bits, sigma=params.sigma)
    return decode(data, layout, n)
