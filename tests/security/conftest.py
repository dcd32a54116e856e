"""Clients that wait are answered at once; a half that never comes is not waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def impatience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        yield


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cloud_s2.queries.HEARTBEAT", 0.001)
    patch.setattr("cloud_s2.provision.HEARTBEAT", 0.001)
    patch.setattr("cloud_s2.conversations.HALF_SECONDS", 0.01)
