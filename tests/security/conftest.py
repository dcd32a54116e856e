"""Clients that wait are answered at once; no half that never comes is waited for. A ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.ledger import Ledger


@pytest.fixture(autouse=True, scope="session")
def impatience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        yield


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cloud_s2.pending.HEARTBEAT", 0.001)
    patch.setattr("cloud_s2.conversations.HALF_SECONDS", 0.01)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    made = Ledger()
    made.install(monkeypatch)
    return made
