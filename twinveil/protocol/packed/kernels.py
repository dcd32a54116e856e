"""S1's big-integer work in the packed engine: both kinds of sums, on all workers.

Counts follow from the layout alone (no step depends on data), which is what `estimate` rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from gmpy2 import mpz

from twinveil.crypto.multiexp import Job, multi_exponentiate_all, shift_combine
from twinveil.crypto.multiexp_fixed import FixedBases
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.parallel import Workers
from twinveil.protocol.packed.layout import LayerLayout
from twinveil.ring import Words

ENGINE = "packed"


class KernelTables:
    """Tables on one model's E(K), by layer and channel chunk; made on first use, then kept.

    tally: operations that made them, once a model; a query's own tally has only what every query does.
    """

    def __init__(
        self, kernels: Mapping[tuple[str, str], list[mpz]], biases: Mapping[tuple[str, str], list[mpz]]
    ) -> None:
        self._kernels = kernels
        self._biases = biases
        self._tables: dict[tuple[str, int], FixedBases] = {}
        self.tally = Tally()

    def sums(
        self, layer: LayerLayout, columns: Words, key: PublicKey, workers: Workers, tally: Tally
    ) -> list[mpz]:
        """E(conv(x1, K) + b): (groups, chunks) ciphertexts in a row. columns: (bases, groups) exponents."""
        exponents = np.ascontiguousarray(columns.T)
        chunks = []
        for chunk in range(layer.channel_chunks):
            tables = self._chunk(layer, chunk, key)
            bias = self._biases[ENGINE, layer.node.name][chunk]
            powers = tables.power(exponents, layer.bits, tally, workers)
            chunks.append([power * bias % key.n_squared for power in powers])
            tally.add(MODMUL_N2, len(powers))
        return [sums[group] for group in range(layer.groups) for sums in chunks]

    def _chunk(self, layer: LayerLayout, chunk: int, key: PublicKey) -> FixedBases:
        name = layer.node.name
        if (name, chunk) not in self._tables:
            bases = self._kernels[ENGINE, name]
            count = len(bases) // layer.channel_chunks
            part = bases[chunk * count : (chunk + 1) * count]
            self._tables[name, chunk] = FixedBases(part, key.n_squared, self.tally)
        return self._tables[name, chunk]


def online_sums(
    layers: Sequence[tuple[LayerLayout, Words, list[list[mpz]]]],
    key: PublicKey,
    workers: Workers,
    tally: Tally,
) -> list[list[mpz]]:
    """E(conv(x2, K1)) of every layer, in the order of LayerLayout.from_online.

    layers: (layout, K1 as exponents (out, taps), S2's ciphertexts by block, padding left out).
    """
    jobs = [
        Job(bases, np.ascontiguousarray(exponents[:, layer.tap_blocks[:, block]]), layer.bits)
        for layer, exponents, blocks in layers
        for block, bases in enumerate(blocks)
    ]
    results = iter(multi_exponentiate_all(jobs, key.n_squared, tally, workers))
    made = []
    for layer, _, _ in layers:
        by_block = [next(results) for _ in range(layer.blocks)]
        if layer.folded > 1:
            made.append(_fold(layer, by_block[0], key, tally))
        else:
            made.append([sums[channel] for channel in range(layer.out) for sums in by_block])
    return made


def _fold(layer: LayerLayout, sums: list[mpz], key: PublicKey, tally: Tally) -> list[mpz]:
    """Several channels into one ciphertext, each shifted behind the one before."""
    width = 8 * layer.online.bytes * layer.positions
    return [
        shift_combine(sums[start : start + layer.folded], width, key.n_squared, tally)
        for start in range(0, len(sums), layer.folded)
    ]
