"""SECURITY.md names tests where they are; tests/architecture/test_docs.py sees to all else that it names."""

from __future__ import annotations

import re
from math import log2
from pathlib import Path

from twinveil.garbling.hashing import BLOCK
from twinveil.params import KAPPA, KEY_BITS, MIN_KEY_BITS, PACKED_SIGMA, Params

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "SECURITY.md").read_text()


def test_every_test_that_is_named_lies_where_the_page_says() -> None:
    named = re.findall(r"`([a-z_0-9/]*/)?(test_[a-z_0-9]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 60
    for folder, name, test in named:
        path = TESTS / (folder.removeprefix("tests/") or "security") / name
        if folder == "tests/":
            path = TESTS / name
        assert path.is_file(), path
        assert not test or f"def {test}(" in path.read_text(), f"{path}: {test}"


def test_every_test_that_a_file_is_named_with_exists() -> None:
    """`file.py::one`, `::another`: the second is of the file named last."""
    last = Path()
    for name, test in re.findall(r"`([a-z_0-9/]*\.py)?(?:::(test_\w+))?`", TEXT):
        if name:
            last = TESTS / (name if "/" in name else f"security/{name}")
        if test:
            assert f"def {test}(" in last.read_text(), f"{last}: {test}"


def test_the_bits_of_garbling_and_transfers_follow_from_the_block() -> None:
    assert f"127 - log2(2 · {BLOCK}) = {127 - log2(2 * BLOCK):g} |" in TEXT
    assert f"128 - log2({BLOCK}) = {128 - log2(BLOCK):g} |" in TEXT


def test_keys_and_masks_are_as_long_as_the_page_says() -> None:
    assert f"**{KEY_BITS} bits (default)**; at least {MIN_KEY_BITS}." in TEXT
    assert f"N of {KEY_BITS} bits (default) | 128 |" in TEXT
    assert f"N of {MIN_KEY_BITS} bits, on request; of 4096 bits | 112;" in TEXT
    assert f"AES keys | {KAPPA} |" in TEXT
    assert f"| {Params().sigma} a conversation, {PACKED_SIGMA} an item |" in TEXT
