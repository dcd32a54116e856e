"""A stock whose makers have ended when its test has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloud_s1 import stock
from tests.cloud_s1.stocks import Made, eventually


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "WAIT", 0.001)


@pytest.fixture
def made() -> Iterator[Made]:
    found = Made()
    yield found
    found.go.set()
    eventually(lambda: not found.stock._makers)
