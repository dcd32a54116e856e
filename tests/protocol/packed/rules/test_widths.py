"""sigma counts every plaintext of every item that is made; masks and nonces are as wide as it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from gmpy2 import mpz

from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.default import default_plan
from tests.protocol.packed.rules.ledger import Decrypted, Ledger, Patch, made
from twinveil.crypto import nonces
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed import masking
from twinveil.protocol.packed.layout import ItemLayout

pytestmark = pytest.mark.slow


def too_narrow(clouds: Opened, ledger: Ledger, plaintexts: Sequence[mpz]) -> set[str]:
    """Masks against the layout; what S2 decrypted is a sum in its range plus its mask."""
    layout, found = clouds.plan.layout, set()
    wide = [sheet for sheet in clouds.plan.sheets for _ in sheet.outputs]
    drawn = [mask for _, masks in ledger.masks for mask in masks]
    for sheet, (bits, masks) in zip(clouds.plan.sheets, ledger.masks, strict=True):
        if bits < sheet.slots.plaintext_bits + layout.margin:
            found.add("a mask is planned too narrow")
        if max(int(mask).bit_length() for mask in masks) < bits - 40 // len(masks) - 8:
            found.add("a mask is narrower than planned")
    for sheet, mask, z in zip(wide, drawn, plaintexts, strict=True):
        if not 0 <= z - mask < 1 << sheet.slots.plaintext_bits:
            found.add("a plaintext that is no sum and its mask")
    if set(ledger.nonces) != {clouds.public.bits + max(layout.margin, 64), 2 * 128 + 40}:
        found.add("nonces of another length")
    return found


def looked_at(clouds: Opened, patch: Patch) -> set[str]:
    observer = clouds.observer("cloud_s2")
    assert isinstance(observer, Decrypted)
    observer.plaintexts.clear()
    ledger = made(clouds, patch)
    return too_narrow(clouds, ledger, observer.plaintexts)


def test_masks_and_nonces_are_as_wide_as_sigma_asks(clouds: Opened, monkeypatch: Patch) -> None:
    assert looked_at(clouds, monkeypatch) == set()


@pytest.mark.parametrize("key_bits", [2048, 3072])
def test_sigma_counts_the_plaintexts_of_an_item(key_bits: int) -> None:
    """64 bits are left when all of them are counted, and full nonces are as long."""
    layout = ItemLayout(default_plan(), key_bits)
    assert layout.sigma == PACKED_SIGMA == 64
    assert layout.sums <= 1 << (layout.margin - 64) < 2 * layout.sums
    assert nonces.exponent_bits(key_bits, "full", layout.more_towards_s2) == key_bits + layout.margin
    assert replace(layout, sigma=40).margin < layout.margin


def test_broken_with_masks_60_bits_too_short(clouds: Opened, monkeypatch: Patch) -> None:
    draw = masking.draw
    monkeypatch.setattr(masking, "draw", lambda count, bits: draw(count, bits - 60))
    assert "a mask is narrower than planned" in looked_at(clouds, monkeypatch)


def test_broken_with_masks_for_a_sigma_of_40(clouds: Opened, monkeypatch: Patch) -> None:
    narrow = {
        name: tuple(replace(sheet, mask_bits=sheet.mask_bits - 24) for sheet in sheets)
        for name, sheets in clouds.plan.layer_sheets.items()
    }
    monkeypatch.setitem(clouds.plan.__dict__, "layer_sheets", narrow)
    assert looked_at(clouds, monkeypatch) == {"a mask is planned too narrow"}


@pytest.mark.parametrize("source", [nonces.Rerandomiser, nonces.Encryptor])
def test_broken_with_shorter_nonces(clouds: Opened, monkeypatch: Patch, source: Any) -> None:
    init = source.__init__
    monkeypatch.setattr(source, "__init__", lambda self, key, tally, more=0: init(self, key, tally))
    assert looked_at(clouds, monkeypatch) == {"nonces of another length"}
