"""What an item is made of, written down where it is used; and S2's half of an item."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gmpy2 import mpz

from tests.networks import random_image
from tests.protocol.packed.clouds import Opened
from twinveil.crypto import nonces
from twinveil.crypto.shared import FixedBases
from twinveil.errors import TwinveilError
from twinveil.network import oracle
from twinveil.protocol.packed import masking
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.ring import Words
from twinveil.rounds.observer import Blind, Masking

Patch = pytest.MonkeyPatch


class Decrypted(Blind):
    """Every plaintext that S2 has decrypted."""

    def __init__(self) -> None:
        self.plaintexts: list[mpz] = []

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        self.plaintexts += plaintexts


class Ledger:
    def __init__(self, patch: Patch) -> None:
        self.u: list[Words] = []
        self.packed: list[Words] = []
        self.raised: list[Words] = []
        self.masks: list[tuple[int, list[mpz]]] = []
        self.nonces: list[int] = []
        raise_to, draw, pack, share = FixedBases.products, masking.draw, item_s2.pack, item_s2.uniform
        randbits = nonces.secrets.randbits

        def power(self_: FixedBases, exponents: Words, *rest: Any) -> Any:
            self.raised.append(exponents.copy())
            return raise_to(self_, exponents, *rest)

        def drawing(count: int, bits: int) -> list[mpz]:
            made = draw(count, bits)
            self.masks.append((bits, made))
            return made

        def packing(values: Words, bits: int) -> list[mpz]:
            self.packed.append(values.copy())
            return pack(values, bits)

        def sharing(shape: tuple[int, ...], bits: int) -> Words:
            made = share(shape, bits)
            self.u.append(made)
            return made

        class Random:
            @staticmethod
            def randbits(bits: int) -> int:
                self.nonces.append(bits)
                return randbits(bits)

        patch.setattr(FixedBases, "products", power)
        patch.setattr(masking, "draw", drawing)
        patch.setattr(item_s2, "pack", packing)
        patch.setattr(item_s2, "uniform", sharing)
        patch.setattr(nonces, "secrets", Random)


def made(clouds: Opened, patch: Patch) -> Ledger:
    """Of one item. A broken engine may fail at it."""
    with patch.context() as here:
        ledger = Ledger(here)
        with contextlib.suppress(TwinveilError, ValueError):
            clouds.make_items(1)
    return ledger


def exact(clouds: Opened) -> bool:
    """Whether a picture's class vector is the oracle's."""
    image = random_image(clouds.model.plan, 0)[None]
    return bool((clouds.classify(image).values == oracle.run_batch(clouds.model, image)).all())


def empty_half(clouds: Opened) -> Words:
    """Half a picture that is all zero."""
    return np.zeros(clouds.model.plan.image_shape, np.uint64)
