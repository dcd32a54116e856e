"""Counts add up, and a calibration gives every kind a cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from twinveil.crypto.calibration import calibrate
from twinveil.crypto.tally import KINDS, MODMUL_N, MODMUL_N2, POWER_P2, Tally


def test_tallies_merge() -> None:
    tally = Tally({MODMUL_N2: 3})
    tally += Tally({MODMUL_N2: 4, POWER_P2: 1})
    tally += {MODMUL_N: 2}
    assert tally.as_dict() == {MODMUL_N2: 7, MODMUL_N: 2, POWER_P2: 1}
    assert tally.total == 10
    assert tally[POWER_P2] == 1
    assert tally != Tally()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        Tally({"guess": 1})


def test_threads_share_a_tally() -> None:
    tally = Tally()

    def add(_: int) -> None:
        for _ in range(2000):
            tally.add(MODMUL_N2)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(add, range(8)))
    assert tally[MODMUL_N2] == 16000


def test_calibration_covers_every_kind() -> None:
    costs = calibrate(256)
    assert set(costs) == set(KINDS)
    assert all(0 < seconds < 0.1 for seconds in costs.values())
    assert Tally({MODMUL_N2: 1000}).seconds(costs) == pytest.approx(1000 * costs[MODMUL_N2])
