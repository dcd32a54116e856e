"""What security costs: the counts are those of the estimate, which are those of real items."""

from __future__ import annotations

import pytest

from tests.networks import random_model
from together.bench.security import checked
from twinveil.crypto.public_key import PublicKey
from twinveil.estimate.query import estimate
from twinveil.params import Params


@pytest.mark.parametrize("seed", range(6))
def test_every_check_is_counted(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, params = random_model(seed).plan, Params(512, insecure_small_key=True)
    counted: list[int] = []

    def check_counts(count: int) -> dict[str, int]:
        counted.append(count)
        return {}

    monkeypatch.setattr(PublicKey, "check_counts", staticmethod(check_counts))
    estimate(plan, params, "packed")
    assert sum(counted) == sum(checked(plan, params).values())
