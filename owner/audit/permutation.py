"""Does a reconstruction look like the picture whose view it was made of, more than like the others?

The test of a view. Whatever the attacker learned, it is fixed before the targets: if their views say nothing
of their pictures, every pairing of reconstructions and pictures is as likely as the right one. So with

    p = (1 + drawn pairings at least as alike as the right one) / (1 + drawn pairings)

p <= a happens with probability a at most, for any attacker, any likeness, and however few targets (Phipson
and Smyth 2010). What an attacker knows of pictures in general helps every pairing alike and does not count.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from owner.audit.metrics import ssim

FALSE_ALARM = 1.5e-5
"""Probability, at most, that a view which says nothing is said to give something away; 1e-4 for all six."""

UNSETTLED = 0.01
"""Up to here a view is neither said to give something away nor to be no better than chance."""

_BATCHES, _BATCH = 100, 1000

VERDICT = (
    "p: the share of pairings of rebuilt pictures and originals that are at least as alike as the right one. "
    f"A view gives something away if p is at most {FALSE_ALARM:f}. If neither p nor the control's is, it is "
    f"not tested. Else it is not settled if p is at most {UNSETTLED:g} or the risk's interval lies above 0, "
    "and no better than chance otherwise. "
    "Six views that say nothing fail an audit with probability 0.0001 at most."
)


@torch.no_grad()
def p_value(made: Tensor, pictures: Tensor, seed: int) -> float:
    """Of reconstructions (n, channels, height, width), each made of the view of the picture in its place.

    Likeness is SSIM. The least that can come out is about 1e-5, and 1 / n! where there are few targets.
    """
    likeness = torch.stack([ssim(one.expand_as(pictures), pictures) for one in made]).double().numpy()
    places = np.arange(len(likeness))
    source = np.random.default_rng(seed)
    right = likeness[places, places].sum() - 1e-9  # equal pairings may be added up in another order
    as_alike = 0
    for _ in range(_BATCHES):
        pairings = source.permuted(np.tile(places, (_BATCH, 1)), axis=1)
        as_alike += int((likeness[places, pairings].sum(axis=1) >= right).sum())
    return (1 + as_alike) / (1 + _BATCHES * _BATCH)
