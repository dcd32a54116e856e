"""One thread for torch: the tests' networks are too small for more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owner.audit.attack import one_thread


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
