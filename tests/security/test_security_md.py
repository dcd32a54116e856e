"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re
from math import log2
from pathlib import Path

from twinveil.garbling.hashing import BLOCK

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "SECURITY.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([a-z]+/)?(test_[a-z_0-9]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 25
    for folder, name, test in named:
        path = TESTS / (folder or "security/") / name
        assert path.is_file(), path
        assert f"{test}" in path.read_text(), f"{path}: {test}"


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (TESTS.parent / target).is_file(), target


def test_every_file_that_is_named_exists() -> None:
    for name in re.findall(r"`((?:crypto|net|protocol|garbling)/[\w/]+\.py|blinding\.py|params\.py)`", TEXT):
        assert "test_" in name or (TESTS.parent / "twinveil" / name).is_file(), name


def test_the_bits_of_garbling_and_transfers_follow_from_the_block() -> None:
    assert f"127 - log2(2 · {BLOCK}) = {127 - log2(2 * BLOCK):g} bits" in TEXT
    assert f"128 - log2({BLOCK}) = {128 - log2(BLOCK):g}." in TEXT
