"""What is asked of a field: what fires, from how few values on, and that honest values do not."""

from __future__ import annotations

import numpy as np
import pytest

from twinveil.views.chances import FALSE_ALARMS
from twinveil.views.fields import Field, Floats
from twinveil.views.statistics import examine

TESTS = 1180
"""In one report, as of the default network."""


def chances(fractions: Floats) -> dict[str, float]:
    """p of the distances, by what they are between."""
    field = Field("sums", fractions, np.zeros(fractions.shape, np.uint8), 256)
    found = {each.test: each.p for each in examine("cloud_s2", field)}
    return {
        pairs: found[f"{pairs}, Kolmogorov-Smirnov"]
        for pairs in ("across", "neighbours")
        if f"{pairs}, Kolmogorov-Smirnov" in found
    }


@pytest.mark.parametrize(("shape", "between"), [((2, 16), "across"), ((1, 32), "neighbours")])
def test_a_mask_that_serves_twice_shows_in_sixteen_pairs(shape: tuple[int, int], between: str) -> None:
    """Masks 40 bits longer than the values: differences are as often a little below 0 as above."""
    source = np.random.default_rng(1)
    values = source.random(shape) * 2.0**-40
    honest = source.random(shape)
    axis = 0 if between == "across" else 1
    twice = np.repeat(np.take(honest, range(0, shape[axis], 2), axis), 2, axis)
    assert chances(honest + values)[between] > 0.01
    assert chances(twice + values)[between] < FALSE_ALARMS / TESTS


def test_distances_of_honest_values_raise_no_more_alarms_than_they_may() -> None:
    source = np.random.default_rng(1)
    runs = 2000
    found: dict[str, list[float]] = {"across": [], "neighbours": []}
    for _ in range(runs):
        for pairs, p in chances(source.random((8, 32))).items():
            found[pairs].append(p)
    for pairs, each in found.items():
        for level in (0.1, 0.01):
            rate = np.mean(np.array(each) < level)
            assert rate < level + 4 * np.sqrt(level / runs), (pairs, level)
