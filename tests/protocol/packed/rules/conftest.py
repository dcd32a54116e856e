"""Both clouds for the rules of what is made ahead."""

from __future__ import annotations

import pytest

from tests.networks import small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Decrypted


@pytest.fixture
def clouds() -> Opened:
    """A narrow network, and the items of one conversation; S2's observer is a `Decrypted`."""
    seen = Decrypted()
    return Opened(small_icnn_model(4), observer=lambda role: seen)
