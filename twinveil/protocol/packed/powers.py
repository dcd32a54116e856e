"""S1's big-integer work for an item: E(conv(r, K2)) from E(K2), and E(conv(u, K1)) from E(u).

Counts follow from the layout alone: no step depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.native.residues import Modulus, Residues
from twinveil.crypto.native.tables import GROUP, fold_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.shared import FixedBases, Job, multi_exponentiate_all, table_bytes
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

    @property
    def modulus(self) -> Modulus:
        """Arithmetic on the workers that are in this process."""
        return self.key.modulus(self.workers.here)


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

    def sums(self, layer: LayerLayout, r: Words, machine: Machine) -> Residues:
        """E(conv(r, K2)) in the order of KernelSums. r: (channels, height, width)."""
        exponents = np.ascontiguousarray(placed(r, layer.kernel.reads, layer.ring).T)
        return Residues.joined(
            [
                tables.products(exponents, layer.ring, machine.tally, machine.workers)
                for tables in self._of(layer, machine.modulus)
            ]
        )

    def _of(self, layer: LayerLayout, modulus: Modulus) -> list[FixedBases]:
        name, count = layer.node.name, layer.kernel.bases
        if name not in self._tables:
            bases = modulus.residues(self._kernels[name])
            chunks = [bases[start : start + count] for start in range(0, len(bases), count)]
            self._tables[name] = [FixedBases(chunk, self.tally, self._group) for chunk in chunks]
        return self._tables[name]


def table_group(layout: ItemLayout, budget: int) -> int:
    """Bases in a group: as many as leave all tables of a model within `budget` bytes, at least one."""
    return next((g for g in range(GROUP, 1, -1) if tables_bytes(layout, g) <= budget), 1)


def tables_bytes(layout: ItemLayout, group: int) -> int:
    """Of all tables of a model."""
    kernels = [layer.kernel for layer in layout.layers.values()]
    return sum(kernel.chunks * table_bytes(kernel.bases, group, layout.key_bits) for kernel in kernels)


def input_sums(
    layers: Sequence[LayerLayout], shares: Sequence[Words], encrypted: Residues, machine: Machine
) -> list[Residues]:
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
    results = iter(multi_exponentiate_all(jobs, machine.tally, machine.workers))
    rows, owners = [], []
    for owner, layer in enumerate(layers):
        for block in layer.inputs.blocks:
            made = _rows(next(results), block.folded, layer.slots.bits * block.size)
            rows += made
            owners += [owner] * len(made)
    sums = list(zip(owners, _folded(rows, machine.tally), strict=True))
    return [Residues.joined([each for at, each in sums if at == owner]) for owner in range(len(layers))]


class _Rows(NamedTuple):
    """Sums by channel; `parts` at a time share a ciphertext, each `width` bits behind the one before."""

    numbers: Residues
    parts: int
    width: int


def _rows(by_channel: Residues, folded: int, width: int) -> list[_Rows]:
    """`folded` channels at a time, and what is left."""
    whole = len(by_channel) // folded * folded
    made = [_Rows(by_channel[:whole], folded, width)]
    left = by_channel[whole:]
    return [*made, _Rows(left, len(left), width)] if len(left) else made


def _folded(rows: Sequence[_Rows], tally: Tally) -> list[Residues]:
    """The shared ciphertexts of each; rows alike at once, so that they fill the lanes."""
    alike: dict[tuple[int, int], list[int]] = {}
    for at, (_, parts, width) in enumerate(rows):
        alike.setdefault((parts, width), []).append(at)
    made: dict[int, Residues] = {}
    for (parts, width), members in alike.items():
        together = Residues.joined([rows[at].numbers for at in members])
        count = len(together) // parts
        order = np.arange(len(together)).reshape(count, parts).T.reshape(-1)
        folded, start = together[order].folded(width, count), 0
        tally += fold_counts(parts, width, count)
        for at in members:
            end = start + len(rows[at].numbers) // parts
            made[at], start = folded[start:end], end
    return [made[at] for at in range(len(rows))]
