"""One thread for torch: the tests' networks are too small for more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owner.training.threads import torch_threads


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads():
        yield
