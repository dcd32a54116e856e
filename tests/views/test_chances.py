"""p-values against a reference, and their calibration."""

from __future__ import annotations

import numpy as np
import pytest

from twinveil.views.chances import (
    binomial_tail,
    cell_distance,
    chi_square,
    chi_square_tail,
    fisher,
    guessing,
    holm,
    interval,
    occurrences,
    serial_correlation,
    uniform_distance,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("freedom", [1, 3, 15, 255])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 1.5, 3.0, 8.0])
def test_chi_square_tail(freedom: int, ratio: float) -> None:
    expected = stats.chi2.sf(freedom * ratio, freedom)
    assert chi_square_tail(freedom * ratio, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize(("right", "guesses"), [(0, 10), (5, 10), (10, 10), (37, 50), (200, 400)])
def test_guesses(right: int, guesses: int) -> None:
    reference = stats.binomtest(right, guesses)
    assert guessing(right, guesses) == pytest.approx(min(1.0, reference.pvalue))
    low, high = reference.proportion_ci(0.95, "exact")
    assert interval(right, guesses) == pytest.approx((low, high), abs=1e-9)
    assert binomial_tail(right, guesses, 0.3) == pytest.approx(stats.binom.sf(right - 1, guesses, 0.3))


@pytest.mark.parametrize("table", [(17, 0, 0, 17), (20, 80, 0, 900), (3, 57, 40, 0), (300, 700, 400, 600)])
def test_fisher(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    expected = stats.fisher_exact([[a, b], [c, d]]).pvalue
    assert fisher(a, a + b, a + c, sum(table)) == pytest.approx(expected)


def test_fisher_leaves_out_what_could_never_be_significant() -> None:
    assert fisher(4, 4, 4, 8) is None
    assert fisher(0, 20, 0, 40) is None


def test_p_values_of_uniform_samples_are_not_too_small() -> None:
    source = np.random.default_rng(1)
    runs = 2000
    found: dict[str, list[float]] = {"distance": [], "steps": [], "cells": [], "order": []}
    for _ in range(runs):
        values = source.random(256)
        found["distance"].append(uniform_distance(values))
        found["steps"].append(cell_distance(occurrences((values * 8).astype(np.uint8), 8)))
        found["cells"].append(chi_square(occurrences((values * 256).astype(np.uint8), 256)) or 0.0)
        found["order"].append(serial_correlation(values) or 0.0)
    for name, chances in found.items():
        for level in (0.1, 0.01):
            assert np.mean(np.array(chances) < level) < level + 4 * np.sqrt(level / runs), (name, level)


def test_a_constant_is_impossible() -> None:
    constant = np.full(256, 0.5)
    assert uniform_distance(constant) < 1e-20
    assert (serial_correlation(constant) or 1.0) < 1e-20
    assert cell_distance(occurrences(np.full(256, 4, np.uint8), 8)) < 1e-20
    assert (chi_square(occurrences(np.zeros(256, np.uint8), 256)) or 1.0) < 1e-20
    assert chi_square(occurrences(np.zeros(100, np.uint8), 2)) is None


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]
    assert holm([0.01, 0.04, 0.02], 0.05) == [True, True, True]
    assert holm([], 0.05) == []
