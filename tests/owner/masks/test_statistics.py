"""Figures over seeds, against values from a table and from resampling."""

from __future__ import annotations

import numpy as np
import pytest

from owner.masks.statistics import MAX_RUNS, figure


def test_a_known_interval() -> None:
    found = figure([90.0, 92.0, 94.0, 91.0, 93.0])
    assert found.mean == 92.0
    assert found.low == pytest.approx(92 - 2.776 * np.sqrt(2.5) / np.sqrt(5), abs=1e-3)
    assert found.high == pytest.approx(92 + 1.963, abs=1e-3)


def test_one_run_has_no_interval() -> None:
    found = figure([50.0])
    assert (found.mean, found.low, found.high) == (50.0, None, None)


@pytest.mark.parametrize("runs", [2, 5, MAX_RUNS])
def test_intervals_hold_the_truth_in_ninety_five_of_a_hundred(runs: int) -> None:
    source = np.random.default_rng(runs)
    held = 0
    for values in source.normal(3.0, 2.0, (2000, runs)):
        found = figure(list(values))
        held += found.low is not None and found.high is not None and found.low <= 3.0 <= found.high
    assert 0.935 < held / 2000 < 0.965
