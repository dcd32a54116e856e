"""How far an item is from the best counts that are known for the same sums, masks and key.

multiplications   of p products of powers of q bases with B-bit exponents: Pippenger (SIAM J. Comput. 9,
                  1980): min(p, q) B + p q B / log2(p q B), up to lower order. Ours: half and full
                  multiplications and squarings together; on E(K2), which never changes, the first term falls
                  away.
decryptions       every accumulator twice, in slots as wide as they have to be, without a gap.
encryptions       every input of a layer once, in such slots; we encrypt it once for each tap that reads it,
                  because a shift by slots would cost S1 more than an encryption costs S2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, log2, prod

from twinveil.crypto.native.tables import exponentiation_counts, fold_counts, product_counts
from twinveil.crypto.tally import MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2
from twinveil.protocol.packed.layout import ItemLayout, LayerLayout
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group


@dataclass(frozen=True, slots=True)
class Bound:
    """ours: what is performed. best: what the best known method would need."""

    what: str
    ours: int
    best: int

    @property
    def ratio(self) -> float:
        return self.ours / self.best

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"ratio": self.ratio}


def bounds(layout: ItemLayout) -> list[Bound]:
    """All linear layers of one item together."""
    layers, group = list(layout.layers.values()), table_group(layout, TABLE_BUDGET)
    room = layout.key_bits - 1 - layout.margin
    sums = sum(2 * each.geometry.channels * each.geometry.positions * each.slots.bits for each in layers)
    read = sum(prod(each.geometry.inputs) * each.slots.bits for each in layers)
    return [
        Bound("multiplications, E(K2)^r", *_sum([_of_kernel(layer, group) for layer in layers])),
        Bound("multiplications, E(u)^K1", *_sum([_of_inputs(layer) for layer in layers])),
        Bound("decryptions", layout.sums, ceil(sums / room)),
        Bound("encryptions", layout.encryptions, ceil(read / (layout.key_bits - 1))),
    ]


def pippenger(outputs: int, bases: int, bits: int, fixed: bool = False) -> int:
    """Multiplications for `outputs` products of powers of `bases` bases."""
    cells = outputs * bases * bits
    chains = 0 if fixed else min(outputs, bases) * bits
    return chains + ceil(cells / max(1.0, log2(cells)))


def _of_kernel(layer: LayerLayout, group: int) -> tuple[int, int]:
    kernel = layer.kernel
    bases, tiles = kernel.reads.shape
    ours = _products(product_counts(bases, tiles, layer.ring, group))
    return kernel.chunks * ours, kernel.chunks * pippenger(tiles, bases, layer.ring, fixed=True)


def _of_inputs(layer: LayerLayout) -> tuple[int, int]:
    ours, best, channels = 0, 0, layer.geometry.channels
    for block in layer.inputs.blocks:
        taps = len(block.taps)
        ours += _products(exponentiation_counts(taps, channels, layer.ring))
        whole, left = divmod(channels, block.folded)
        for folded, count in ((block.folded, whole), (left, 1)):
            ours += _products(fold_counts(folded, layer.slots.bits * block.size, count)) if folded else 0
        best += pippenger(channels, taps, layer.ring)
    return ours, best


def _products(counts: Mapping[str, int]) -> int:
    return sum(counts.get(kind, 0) for kind in (MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2))


def _sum(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(ours for ours, _ in pairs), sum(best for _, best in pairs)
