"""What owner and user cut in two for the packed engine, and how the clouds read their halves.

    kernels    K*M      packed with a guard bit, a fresh M a plaintext      A -> S1,  M^-1 -> S2
    biases     b + r    modulo 2^L, r uniform                               b + r -> S1,  r -> S2
    picture    d xor m  m uniform, exactly image_bits a pixel               m -> S1,  d xor m -> S2

Either half alone is uniform. Slots of kernels have a spare bit above the weight (crypto/slots.py): the clouds
read shares modulo 2^L out of them and force no range. Whatever a bad owner sends is some K modulo 2^L.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.errors import InvalidMessage, TooMuch
from twinveil.halves.blinding import (
    COUNT_BITS,
    Blinding,
    Segment,
    blind_values,
    decode,
    offset_binary,
    segment,
)
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.params import PACKED_SIGMA, Params
from twinveil.ring import Words, pack_words, packed_bytes, uniform, unpack_words

SPARE_BITS = 1
"""Above a weight, in its slot."""


@dataclass(frozen=True)
class ModelHalf:
    """One cloud's half, checked. kernels: A or M^-1 of every plaintext; biases: b + r or r; by layer."""

    kernels: Mapping[str, list[mpz]]
    biases: Mapping[str, Words]


def kernel_segments(plan: Plan, key_bits: int, sigma: int = PACKED_SIGMA) -> dict[str, Segment]:
    """How each layer's weights are packed, in offset binary. Raises TooMuch for more than an import takes."""
    made = {
        node.name: segment(
            "weights",
            Blinding.MULTIPLICATIVE,
            int(np.prod(plan.weight_shape(node))),
            node.weight_bits + SPARE_BITS,
            key_bits=key_bits,
            sigma=sigma,
        )
        for node in plan.linear_nodes
    }
    if sum(each.plaintexts for each in made.values()) > 1 << COUNT_BITS:
        raise TooMuch(f"the network has more than {1 << COUNT_BITS:,} plaintexts of weights")
    return made


def model_bytes(plan: Plan, params: Params) -> int:
    """Of one cloud's half. Raises TooMuch for more than an import takes."""
    return sum(_sizes(plan, params.key_bits))


def _sizes(plan: Plan, key_bits: int) -> list[int]:
    """Of each layer's kernel, then of each layer's biases."""
    segments = kernel_segments(plan, key_bits)
    sizes = [segments[node.name].plaintexts * (key_bits // 8) for node in plan.linear_nodes]
    return sizes + [
        packed_bytes(plan.shapes[node.name][0], node.accumulator_bits) for node in plan.linear_nodes
    ]


def blind_model(model: QuantisedModel, params: Params, n: mpz) -> tuple[bytes, bytes]:
    """The owner's halves, for S1 and for S2: all kernels, then all biases."""
    halves: tuple[list[bytes], list[bytes]] = ([], [])
    segments = kernel_segments(model.plan, params.key_bits)
    pairs = [
        blind_values(offset_binary(model.weights[node.name], node.weight_bits), segments[node.name], n)
        for node in model.plan.linear_nodes
    ]
    for node in model.plan.linear_nodes:
        bias = model.biases[node.name].astype(np.int64).view(np.uint64)
        drawn = uniform((len(bias),), node.accumulator_bits)
        blinded, blinding = (pack_words(each, node.accumulator_bits) for each in (bias + drawn, drawn))
        pairs.append((blinded, blinding))
    for pair in pairs:
        for half, part in zip(halves, pair, strict=True):
            half.append(part)
    return b"".join(halves[0]), b"".join(halves[1])


def read_model_half(plan: Plan, params: Params, n: mpz, data: bytes) -> ModelHalf:
    """Raises InvalidMessage unless sizes are exact and every number is in 1 to N - 1, for kernels."""
    segments, sizes = kernel_segments(plan, params.key_bits), _sizes(plan, params.key_bits)
    if len(data) != sum(sizes):
        raise InvalidMessage(f"half a model of this plan has {sum(sizes)} bytes, not {len(data)}")
    ends = np.cumsum(sizes).tolist()
    parts = iter([data[end - size : end] for end, size in zip(ends, sizes, strict=True)])
    kernels = {node.name: decode(next(parts), segments[node.name], n) for node in plan.linear_nodes}
    biases = {
        node.name: unpack_words(next(parts), plan.shapes[node.name][0], node.accumulator_bits)
        for node in plan.linear_nodes
    }
    return ModelHalf(kernels, biases)


def picture_bytes(plan: Plan) -> int:
    """Of one cloud's half of a picture."""
    return packed_bytes(int(np.prod(plan.image_shape)), plan.image_bits)


def share_pictures(images: npt.NDArray[np.integer], plan: Plan) -> tuple[bytes, bytes]:
    """The user's halves of its pictures (pictures, channels, height, width) in a row: m, and d xor m."""
    halves = [_share(image, plan) for image in images]
    return b"".join(first for first, _ in halves), b"".join(second for _, second in halves)


def _share(image: npt.NDArray[np.integer], plan: Plan) -> tuple[bytes, bytes]:
    drawn = uniform((image.size,), plan.image_bits)
    return (
        pack_words(drawn, plan.image_bits),
        pack_words(image.reshape(-1).astype(np.uint64) ^ drawn, plan.image_bits),
    )


def read_picture_halves(plan: Plan, pictures: int, data: bytes) -> list[Words]:
    """(channels, height, width) of each. Raises InvalidMessage for another size; any content is a half."""
    size = picture_bytes(plan)
    if len(data) != pictures * size:
        raise InvalidMessage(f"{pictures} half pictures have {pictures * size} bytes here, not {len(data)}")
    count = int(np.prod(plan.image_shape))
    return [
        unpack_words(data[start : start + size], count, plan.image_bits).reshape(plan.image_shape)
        for start in range(0, len(data), size)
    ]
