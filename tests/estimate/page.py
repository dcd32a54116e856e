"""docs/cost.md's formulas, written out from the page and a plan; only windows are looked up (`choose`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, log2, prod

from twinveil.crypto.multiexp_schedule import Buckets, choose
from twinveil.crypto.native.tables import best
from twinveil.crypto.tally import (
    INVERSE_N,
    MODMUL_N,
    MODMUL_N2,
    MODMUL_N2_HALF,
    MODMUL_P2,
    MUL_N,
    POWER_P2,
    SQUARE_N2,
)
from twinveil.network.plan import Conv, Linear, Plan, Shape
from twinveil.network.schedule import Schedule

SIGMA = 40
MOST_PICTURES = 16

Counts = Counter[str]
"""Operations by kind."""


@dataclass(frozen=True)
class Layer:
    """The letters of the page for one layer."""

    plan: Plan
    node: Linear
    key_bits: int
    pictures: int
    count_bits: int

    @property
    def in_shape(self) -> Shape:
        return self.plan.shapes[self.node.source]

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        """Rows, columns, stride, padding; a dense layer reads every value once."""
        if isinstance(self.node, Conv):
            return (*self.node.kernel, self.node.stride, self.node.padding)
        return (*self.in_shape[1:], 1, 0)

    @property
    def length(self) -> int:
        return self.node.accumulator_bits

    @property
    def tau(self) -> int:
        return ceil(log2(self.in_shape[0] * self.kernel[0] * self.kernel[1]))

    @property
    def o(self) -> int:
        return self.plan.shapes[self.node.name][0]

    @property
    def sides(self) -> tuple[int, int]:
        _, height, width = self.plan.shapes[self.node.name]
        return height, width

    @property
    def n(self) -> int:
        return self.pictures * prod(self.sides)

    @property
    def online_bytes(self) -> int:
        return ceil((2 * self.length + self.tau + SIGMA + self.count_bits + 1) / 8)

    @property
    def online_slots(self) -> int:
        return (self.key_bits - 1) // (8 * self.online_bytes)

    @property
    def ahead_slots(self) -> int:
        bits = self.length + self.node.weight_bits + self.tau + SIGMA + self.count_bits + 2
        return (self.key_bits - 1) // (8 * ceil(bits / 8))

    @property
    def blocks(self) -> int:
        return ceil(self.n / self.online_slots)

    @property
    def f(self) -> int:
        return self.online_slots // self.n if self.blocks == 1 else 1

    @property
    def z(self) -> int:
        return self.blocks * ceil(self.o / self.f)

    @property
    def g(self) -> int:
        return max(1, min(self.ahead_slots // self.o, self.sides[1]))

    @property
    def chunks(self) -> int:
        return ceil(self.o / self.ahead_slots)

    @property
    def groups(self) -> int:
        return self.pictures * self.sides[0] * ceil(self.sides[1] / self.g)

    @property
    def a(self) -> int:
        return self.groups * self.chunks

    @property
    def b(self) -> int:
        rows, columns, stride, _ = self.kernel
        if isinstance(self.node, Conv):
            columns += (self.g - 1) * stride
        return self.in_shape[0] * rows * columns

    @property
    def taps(self) -> list[int]:
        """t_j: taps of each block that read the picture somewhere and not only padding."""
        rows, columns, stride, padding = self.kernel
        height, width = self.in_shape[1:]
        places = [
            (y, x) for _ in range(self.pictures) for y in range(self.sides[0]) for x in range(self.sides[1])
        ]
        found = []
        for start in range(0, self.n, self.online_slots):
            block = places[start : start + self.online_slots]
            inside = 0
            for row in range(rows):
                for column in range(columns):
                    inside += any(
                        0 <= y * stride + row - padding < height
                        and 0 <= x * stride + column - padding < width
                        for y, x in block
                    )
            found.append(self.in_shape[0] * inside)
        return found


def layers(stages: Schedule, key_bits: int, pictures: int) -> list[list[Layer]]:
    """Stage by stage. Every stage after the first has layers."""
    plan, count_bits = stages.plan, 12

    def made(pictures: int) -> list[Layer]:
        return [Layer(plan, node, key_bits, pictures, count_bits) for node in plan.linear_nodes]

    while sum(x.z * x.online_slots + x.a * x.ahead_slots for x in made(MOST_PICTURES)) > 1 << count_bits:
        count_bits += 1
    by_name = {layer.node.name: layer for layer in made(pictures)}
    return [[by_name[step.node.name] for step in stage.linear] for stage in stages.stages[1:]]


def powers(bases: int, outputs: int, bits: int) -> Counts:
    """Products of powers by the schedule that (bases, outputs, bits) choose."""
    chosen = choose(bases, outputs, bits)
    if isinstance(chosen, Buckets):
        w, first = len(chosen.windows), chosen.windows[0]
        sizes = [2**first - 1 if w == 1 else 2**first, *(2 ** (wide - 1) for wide in chosen.windows[1:])]
        return Counter(
            {
                MODMUL_N2_HALF: outputs * w * bases,
                SQUARE_N2: outputs * (bits - first),
                MODMUL_N2: outputs * (2 * sum(size - 1 for size in sizes) + w),
                MODMUL_N: (6 if w > 1 else 5) * bases,
                INVERSE_N: 1,
            }
        )
    window, groups = chosen.window, ceil(bases / chosen.group)
    v = ceil(bits / window)
    sizes = [bases // groups + (index < bases % groups) for index in range(groups)]
    return Counter(
        {
            MODMUL_N2_HALF: outputs * v * (groups - 1),
            SQUARE_N2: outputs * (v - 1) * window,
            MODMUL_N2: outputs * v,
            MODMUL_N: 5 * bases
            + 3 * sum(2 ** (size * window) - 1 - size for size in sizes)
            + 2 ** (sizes[0] * window),
            INVERSE_N: 1,
        }
    )


def products(bases: int, outputs: int, bits: int) -> Counts:
    """The same by native arithmetic's tables and buckets."""
    way, size = best(bases, outputs, bits)
    if way == "buckets":
        w = ceil(bits / size)
        return Counter(
            {
                MODMUL_N2_HALF: outputs * w * bases,
                SQUARE_N2: outputs * (w - 1) * size,
                MODMUL_N2: outputs * (w * (2 * (2**size - 2) + 2) + w - 1),
                MODMUL_N: 5 * bases,
                INVERSE_N: 1,
            }
        )
    groups = max(2, ceil(bases / size))
    own = ceil(bases / groups)
    return Counter(
        {
            MODMUL_N2_HALF: outputs * bits * (groups - 1),
            SQUARE_N2: outputs * (bits - 1),
            MODMUL_N2: outputs * (2 * bits - 1),
            MODMUL_N: 5 * (groups * own + groups + 1) + 3 * groups * (2**own - 1),
            INVERSE_N: 1,
        }
    )


def online(stage: list[Layer], workers: int) -> Counts:
    """conv(x2, K1) of a stage: where it has fewer blocks than workers, outputs are shared out as well."""
    blocks = sum(layer.blocks for layer in stage)
    counts: Counts = Counter()
    for layer in stage:
        parts = 1 if blocks >= workers else min(layer.o, ceil(workers / blocks))
        for taps in layer.taps:
            for part in range(parts):
                counts += powers(taps, layer.o // parts + (part < layer.o % parts), layer.length)
    return counts


def fold(layer: Layer) -> Counts:
    if layer.f == 1:
        return Counter()
    steps = layer.o - ceil(layer.o / layer.f)
    return Counter({SQUARE_N2: steps * 8 * layer.online_bytes * layer.n, MODMUL_N2: steps})


def check(count: int) -> Counts:
    return Counter({MODMUL_N2_HALF: count, INVERSE_N: 1})


def decrypt(count: int) -> Counts:
    """A batch of `count`: parsed, decrypted, checked by 64-bit powers modulo p^2 and q^2."""
    own = Counter({POWER_P2: 2 * (count + 1), MODMUL_P2: 2 * products(count, 1, 64).total()})
    return own + check(count) + check(count)


def nonces(count: int, bits: int) -> Counts:
    """Powers of h by a table: a step for each 8 bits, or each 11 of a short exponent; the first is free."""
    window = 11 if bits == 256 else 8
    return Counter({MODMUL_N2_HALF: count * (ceil(bits / window) - 1), MODMUL_N2: count})


def encrypt(count: int) -> Counts:
    """With nonces that are there."""
    return Counter({MODMUL_N2: count, MUL_N: count})


def mask(count: int) -> Counts:
    """E(x + s) from E(x)."""
    return Counter({MODMUL_N2: count, MUL_N: count})
