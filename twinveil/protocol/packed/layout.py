"""How sums made ahead lie in plaintexts, from public data alone: the same at both clouds.

For a layer with `taps` products a sum, modulo 2^L, both sums of products of shares,

    conv(r, K2) and conv(u, K1),   0 <= sum < taps 2^(2L),

have slots of 2L + ceil(log2 taps) + 1 bits, the top one spare (crypto/slots.py). Whatever is in a slot,
wanted or not, is such a sum or a part of one: r, u, K1 and K2 are below 2^L, and zero at padding. A
plaintext's mask has sigma + ceil(log2(plaintexts masked in an item)) bits more than the plaintext.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from twinveil.crypto.nonces import SLACK_BITS
from twinveil.crypto.slots import Slots, most_slots
from twinveil.errors import BadPlan
from twinveil.network.plan import Linear, Plan
from twinveil.network.schedule import LinearStep, Schedule, schedule
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed.geometry import Geometry
from twinveil.protocol.packed.input_sums import InputSums
from twinveil.protocol.packed.kernel_sums import KernelSums

MORE_TOWARDS_S1 = 40
"""Bits by which nonces towards S1 are longer than 2 kappa: so much is to be lost among 2^40 of them."""


@dataclass(frozen=True)
class LayerLayout:
    """One linear layer's two sums made ahead."""

    node: Linear
    kernel: KernelSums
    inputs: InputSums

    @property
    def ring(self) -> int:
        """L: everything about the layer is modulo 2^L."""
        return self.node.accumulator_bits

    @property
    def geometry(self) -> Geometry:
        return self.kernel.geometry

    @property
    def slots(self) -> Slots:
        return self.kernel.slots

    @property
    def sums(self) -> int:
        """Ciphertexts that S2 decrypts: of conv(r, K2), then of conv(u, K1)."""
        return self.kernel.sums + self.inputs.sums


@dataclass(frozen=True)
class ItemLayout:
    """Every layer's layout for one key size; an item is one picture.

    `layers` and what rests on them raise BadPlan where the key has no room for a sum.
    """

    plan: Plan
    key_bits: int
    sigma: int = PACKED_SIGMA

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.plan)

    @cached_property
    def steps(self) -> tuple[LinearStep, ...]:
        """All linear layers, in the order of the stages."""
        return tuple(step for stage in self.schedule.stages for step in stage.linear)

    @cached_property
    def _fitted(self) -> tuple[int, dict[str, LayerLayout]]:
        """The least ceil(log2(plaintexts masked)) that covers what it leads to."""
        bits, layers = 0, self._layers(0)
        while (masked := sum(layer.sums for layer in layers.values())) > 1 << bits:
            bits = (masked - 1).bit_length()  # wider masks do not make sums fewer
            layers = self._layers(bits)
        return bits, layers

    @property
    def margin(self) -> int:
        """Bits of a mask beyond those of its plaintext."""
        return self.sigma + self._fitted[0]

    @property
    def more_towards_s2(self) -> int:
        """Bits by which S1's nonces exceed what their reach asks for: to |N| + sigma + ceil(log2 of them)."""
        return max(0, self.margin - SLACK_BITS)

    @property
    def layers(self) -> dict[str, LayerLayout]:
        """By name, in the order of `steps`."""
        return self._fitted[1]

    @property
    def sums(self) -> int:
        """Plaintexts masked in an item."""
        return sum(layer.sums for layer in self.layers.values())

    @property
    def encryptions(self) -> int:
        """Ciphertexts of u in an item."""
        return sum(layer.inputs.plaintexts for layer in self.layers.values())

    def _layers(self, count_bits: int) -> dict[str, LayerLayout]:
        made = {}
        for step in self.steps:
            node = step.node
            geometry = Geometry.of(self.plan, node)
            bits = 2 * node.accumulator_bits + (geometry.taps - 1).bit_length() + 1
            slots = Slots(bits, most_slots(bits, self.key_bits, self.sigma + count_bits))
            if not slots.count:
                raise BadPlan(f"layer {node.name}: a masked sum of {bits} bits does not fit into the key")
            kernel = KernelSums(geometry, slots, node.accumulator_bits)
            made[node.name] = LayerLayout(node, kernel, InputSums(geometry, slots))
        return made
