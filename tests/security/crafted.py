"""Halves that no honest client sends: pixels and weights out of their range, blindings that do not belong."""

from __future__ import annotations

import secrets

from tests.security.world import World, blinding_of
from twinveil.halves.blinding import picture_segment
from twinveil.halves.integers import model_segments
from twinveil.halves.ring import kernel_segments, model_bytes
from twinveil.network.plan import Plan

CRAFTED = (
    "inconsistent",
    "N - 1",
    "(N - 1) / 2",
    "1",
    "0 but for the guard",
    "one pixel of 2^120",
    "no guard",
    "all slots full and more",
    "a multiple of p",
    "1 and 1",
    "N - 1 and N - 1",
)


def crafted(kind: str, world: World, packed_bits: int) -> tuple[int, int]:
    """A, M^-1 of one plaintext, or two numbers that belong to none."""
    n = int(world.public.n)
    plaintext = {
        "N - 1": n - 1,
        "(N - 1) / 2": (n - 1) // 2,
        "1": 1,
        "0 but for the guard": 1 << packed_bits,
        "one pixel of 2^120": (1 << packed_bits) + (1 << 120),
        "no guard": (1 << packed_bits) - 1,
        "all slots full and more": (1 << (packed_bits + 40)) - 1,
        "a multiple of p": 3 * int(world.secret._p),
    }.get(kind)
    if plaintext is not None:
        return blinding_of(plaintext, world.public.n)
    pairs = {"1 and 1": (1, 1), "N - 1 and N - 1": (n - 1, n - 1)}
    return pairs.get(kind) or (secrets.randbelow(n - 1) + 1, secrets.randbelow(n - 1) + 1)


def encoded(pairs: list[tuple[int, int]], world: World) -> tuple[bytes, bytes]:
    width = world.public.bits // 8
    return (
        b"".join(a.to_bytes(width, "big") for a, _ in pairs),
        b"".join(b.to_bytes(width, "big") for _, b in pairs),
    )


def crafted_query(kind: str, world: World, plan: Plan) -> tuple[bytes, bytes]:
    """Of the textbook engine; for the packed one any bytes are halves of some picture."""
    layout = picture_segment(plan, 1, key_bits=world.params.key_bits, sigma=world.params.sigma)
    return encoded([crafted(kind, world, layout.packed_bits) for _ in range(layout.plaintexts)], world)


def crafted_model(kind: str, world: World, plan: Plan, engine: str = "packed") -> tuple[bytes, bytes]:
    """Weights and biases alike; a bias's halves b', r are any two numbers of their size."""
    if engine == "textbook":
        segments = [segment for _, _, segment in model_segments(plan, world.params)]
        pairs = [crafted(kind, world, each.packed_bits) for each in segments for _ in range(each.plaintexts)]
        return encoded(pairs, world)
    segments = list(kernel_segments(plan, world.params.key_bits).values())
    pairs = [crafted(kind, world, each.packed_bits) for each in segments for _ in range(each.plaintexts)]
    kernels = encoded(pairs, world)
    biases = model_bytes(plan, world.params) - len(kernels[0])
    return kernels[0] + secrets.token_bytes(biases), kernels[1] + secrets.token_bytes(biases)
