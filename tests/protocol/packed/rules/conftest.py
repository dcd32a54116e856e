"""Both clouds for the rules of what is made ahead."""

from __future__ import annotations

import pytest

from tests.networks import small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Decrypted


@pytest.fixture(scope="session")
def imported() -> Opened:
    seen = Decrypted()
    return Opened(small_icnn_model(4, side=8), observer=lambda role: seen)


@pytest.fixture
def clouds(imported: Opened) -> Opened:
    """A narrow network at clouds without an item; S2's observer is a `Decrypted`."""
    return imported.anew()
