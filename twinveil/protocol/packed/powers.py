"""S1's big-integer work for an item: E(conv(r, K2)) from E(K2), and E(conv(u, K1)) from E(u).

Counts follow from the layout alone: no step depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.multiexp import Job, multi_exponentiate_all, shift_combine
from twinveil.crypto.multiexp_fixed import FIXED_GROUP, OVERHEAD_BYTES, FixedBases
from twinveil.crypto.multiexp_schedule import Tables
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import Tally
from twinveil.parallel import Workers
from twinveil.protocol.packed.geometry import placed
from twinveil.protocol.packed.layout import ItemLayout, LayerLayout
from twinveil.ring import Words

TABLE_BUDGET = 256 << 20
"""Bytes of tables on one model's E(K2) in a process: fewer products in each, if they would not fit."""


@dataclass(frozen=True)
class Machine:
    """What S1 computes with."""

    key: PublicKey
    workers: Workers
    tally: Tally = field(default_factory=Tally)


class KernelTables:
    """Tables on one model's E(K2), made on first use, then kept.

    kernels: by layer, chunks of bases in a row (KernelSums). tally: operations that made the tables.
    """

    def __init__(
        self, layout: ItemLayout, kernels: Mapping[str, Sequence[mpz]], budget: int = TABLE_BUDGET
    ) -> None:
        self._kernels = kernels
        self._group = table_group(layout, budget)
        self._tables: dict[str, list[FixedBases]] = {}
        self.tally = Tally()

    def sums(self, layer: LayerLayout, r: Words, machine: Machine) -> list[mpz]:
        """E(conv(r, K2)) in the order of KernelSums. r: (channels, height, width)."""
        exponents = np.ascontiguousarray(placed(r, layer.kernel.reads, layer.ring).T)
        made = []
        for tables in self._of(layer, machine.key):
            made += tables.power(exponents, layer.ring, machine.tally, machine.workers)
        return made

    def _of(self, layer: LayerLayout, key: PublicKey) -> list[FixedBases]:
        name, count = layer.node.name, layer.kernel.bases
        if name not in self._tables:
            bases = self._kernels[name]
            chunks = [bases[start : start + count] for start in range(0, len(bases), count)]
            self._tables[name] = [FixedBases(c, key.n_squared, self.tally, self._group) for c in chunks]
        return self._tables[name]


def table_group(layout: ItemLayout, budget: int) -> int:
    """Bases in a group: as many as leave all tables of a model within `budget` bytes, at least one."""
    return next((g for g in range(FIXED_GROUP, 1, -1) if table_bytes(layout, g) <= budget), 1)


def table_bytes(layout: ItemLayout, group: int) -> int:
    """Of all tables of a model: two numbers below N an entry, three in a first group."""
    numbers = 0
    for layer in layout.layers.values():
        entries = [1 << size for size in Tables(group, 1).groups(layer.kernel.bases)]
        numbers += layer.kernel.chunks * (2 * sum(entries) + entries[0])
    return numbers * (layout.key_bits // 8 + OVERHEAD_BYTES)


def input_sums(
    layers: Sequence[LayerLayout], shares: Sequence[Words], encrypted: Sequence[mpz], machine: Machine
) -> list[list[mpz]]:
    """E(conv(u, K1)) of every layer, in the order of InputSums.

    shares: K1 (out, taps) of each layer. encrypted: E(u) of all layers in a row.
    """
    jobs, start = [], 0
    for layer, weights in zip(layers, shares, strict=True):
        for block in layer.inputs.blocks:
            bases = encrypted[start : start + len(block.taps)]
            start += len(block.taps)
            exponents = np.ascontiguousarray(weights.reshape(len(weights), -1)[:, block.taps])
            jobs.append(Job(bases, exponents, layer.ring))
    modulus = machine.key.n_squared
    results = iter(multi_exponentiate_all(jobs, modulus, machine.tally, machine.workers))
    made = []
    for layer in layers:
        sums = []
        for block in layer.inputs.blocks:
            by_channel, width = next(results), layer.slots.bits * block.size
            for first in range(0, len(by_channel), block.folded):
                folded = by_channel[first : first + block.folded]
                sums.append(shift_combine(folded, width, modulus, machine.tally))
        made.append(sums)
    return made
