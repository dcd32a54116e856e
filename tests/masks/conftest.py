"""One thread for torch: threads that wait for each other on a busy machine cost tenfold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owner.masks.study import one_thread


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> Iterator[None]:
    with one_thread():
        yield
