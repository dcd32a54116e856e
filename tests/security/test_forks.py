"""Processes that begin alike draw differently: forks, and workers that were spawned."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.security.draws import draw_all
from tests.security.forks import in_forks
from twinveil.parallel import Workers

pytestmark = pytest.mark.slow

WORKERS = 16


def pieces(results: list[dict[str, bytes]], kind: str, size: int = 16) -> list[bytes]:
    return [
        result[kind][at : at + size]
        for result in results
        for at in range(0, len(result[kind]) - size + 1, size)
    ]


def distinct(results: list[dict[str, bytes]]) -> None:
    for kind in results[0]:
        if kind in ("slot masks", "short nonces", "full nonces", "published nonces", "blindings"):
            assert len({result[kind] for result in results}) == len(results), kind
        else:
            drawn = pieces(results, kind)
            assert len(set(drawn)) == len(drawn) >= len(results), kind


def test_forked_workers_draw_disjoint_values() -> None:
    key = secret_key().public_key
    draw_all(key)
    results = in_forks(WORKERS, lambda: draw_all(key))
    distinct([*results, draw_all(key)])


def test_the_check_sees_a_generator_that_was_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    monkeypatch.setattr(os, "urandom", lambda count: generator.bytes(count))
    key = secret_key().public_key
    with pytest.raises(AssertionError):
        distinct(in_forks(3, lambda: draw_all(key)))


@pytest.mark.heavy
def test_spawned_workers_draw_disjoint_values() -> None:
    with Workers.processes(WORKERS) as workers:
        results = workers.map(draw_all, [secret_key().public_key] * WORKERS)
    distinct(results)
