"""Pictures in two halves as they travel, for whichever engine: for rehearsals, which play all roles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.halves.integers import blind_pictures, read_picture_half
from twinveil.halves.ring import read_picture_halves, share_pictures
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.ring import Words

PictureHalf = Sequence[Words] | Sequence[mpz]
"""One cloud's: m or d xor m of each picture (packed); d*M or M^-1 of every plaintext (textbook)."""


def split_pictures(
    images: npt.NDArray[np.uint8], plan: Plan, engine: str, params: Params, n: mpz
) -> tuple[bytes, bytes]:
    """The user's halves of its pictures (pictures, channels, height, width), for S1 and for S2."""
    if engine == "packed":
        return share_pictures(images, plan)
    return blind_pictures(images, plan, params, n)


def read_pictures(plan: Plan, engine: str, pictures: int, params: Params, n: mpz, data: bytes) -> PictureHalf:
    """Raises InvalidMessage for another size, or a residue out of range."""
    if engine == "packed":
        return read_picture_halves(plan, pictures, data)
    return read_picture_half(plan, pictures, params, n, data)
