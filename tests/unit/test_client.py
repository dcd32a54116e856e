"""The user's client as a Python program meets it, without anybody to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinveil.errors import BadInput
from twinveil.net.channel import Me
from twinveil.params import MAX_PICTURES
from user.client import BATCH, Client
from user.contact import Contact

NOBODY = Contact(Me("user", "alice", None), "", "", "", Path("pin"))


@pytest.mark.parametrize("batch", [-1, 0, MAX_PICTURES + 1])
def test_what_the_clouds_would_refuse_is_refused_before_anybody_is_asked(batch: int) -> None:
    assert 1 <= BATCH <= MAX_PICTURES
    with pytest.raises(BadInput, match=rf"^a query has 1 to {MAX_PICTURES} pictures, not {batch}$"):
        Client(NOBODY).classify(["7.png"], "mnist", batch=batch)
