"""How far the packed engine is from the best counts that are known for the same sums, masks and key.

products        multiplications of p products of powers of q bases with B-bit exponents: Pippenger (SIAM J.
                Comput. 9, 1980): min(p, q) B + p q B / log2(p q B), up to lower order. Ours: half and full
                multiplications and squarings together; ahead, where the bases never change, the first term
                falls away.
decryptions     every accumulator needs bits(sum) + sigma + log2(slots) bits of some plaintext below N.
encryptions     every activation once, in slots as wide as the sums; we encrypt it once for each tap that
                reads it, because a shift by slots would cost S1 more than an encryption costs S2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, log2

import numpy as np

from twinveil.crypto.tally import MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2, Tally
from twinveil.estimate.packed import ahead_powers, fold_counts, online_powers, shares
from twinveil.protocol.packed.layout import PackedLayout

PRODUCT_KINDS = (MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2)


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


def bounds(layout: PackedLayout, workers: int = 1) -> list[Bound]:
    """All linear layers of one query together."""
    layers = list(layout.layers.values())
    online, ahead, online_best, ahead_best = Tally(), Tally(), 0, 0
    for stage in layout.schedule.stages:
        stage_layers = [layout.step(step) for step in stage.linear]
        if stage_layers:
            online += online_powers(stage_layers, workers)
            online += fold_counts(stage_layers)
    for layer in layers:
        ahead += ahead_powers(layer)
        ahead.add(MODMUL_N2, layer.ahead_sums)
        chunks, bases, _ = layer.kernel_slots.shape
        ahead_best += chunks * pippenger(layer.groups, bases, layer.bits, fixed=True)
        for block in range(layer.blocks):
            online_best += pippenger(layer.out, int(layer.tap_blocks[:, block].sum()), layer.bits)
    room = layout.key_bits - 1
    online_bits = sum((layer.online.mask_bits + 1) * layer.out * layer.positions for layer in layers)
    ahead_bits = sum((layer.ahead.mask_bits + 1) * layer.out * layer.positions for layer in layers)
    read = sum(
        (layer.online.mask_bits + 1) * layout.pictures * int(np.prod(layer.in_shape)) for layer in layers
    )
    return [
        Bound("multiplications ahead", _products(ahead), ahead_best),
        Bound("multiplications online", _products(online), online_best),
        Bound("decryptions ahead", sum(layer.ahead_sums for layer in layers), ceil(ahead_bits / room)),
        Bound("decryptions online", sum(layer.online_sums for layer in layers), ceil(online_bits / room)),
        Bound("encryptions", sum(map(shares, layers)), ceil(read / room)),
    ]


def pippenger(outputs: int, bases: int, bits: int, fixed: bool = False) -> int:
    """Multiplications for `outputs` products of powers of `bases` bases."""
    cells = outputs * bases * bits
    chains = 0 if fixed else min(outputs, bases) * bits
    return chains + ceil(cells / max(1.0, log2(cells)))


def _products(tally: Tally) -> int:
    return sum(tally[kind] for kind in PRODUCT_KINDS)
