"""The test of a view: alarms as rarely as it says, and on what belongs to the right picture alone."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest

from owner.audit import permutation
from owner.audit.permutation import FALSE_ALARM, p_value

pytestmark = pytest.mark.slow

SOURCE = torch.Generator().manual_seed(1)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=SOURCE)


def test_rebuilt_pictures_are_found() -> None:
    given = pictures(12)
    blurred = 0.7 * pictures(12) + 0.3 * given
    assert p_value(given, given, 1) <= FALSE_ALARM
    assert p_value(blurred, given, 1) <= FALSE_ALARM
    assert p_value(blurred.roll(1, dims=0), given, 1) > FALSE_ALARM


def test_knowing_what_pictures_look_like_does_not_count() -> None:
    """The targets' own mean is nearer to them than any attacker's; it is equally near to all."""
    given = pictures(12)
    mean = given.mean(dim=0, keepdim=True)
    assert p_value(mean.expand_as(given), given, 1) == 1
    assert p_value(mean + 0.05 * pictures(12), given, 1) > FALSE_ALARM


def test_with_few_targets_nothing_is_shown() -> None:
    given = pictures(4)
    assert p_value(given, given, 1) == pytest.approx(1 / math.factorial(4), abs=0.01)


def test_false_alarms_are_as_rare_as_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconstructions that have nothing to do with the pictures, 600 times, at levels that can be counted."""
    monkeypatch.setattr(permutation, "_BATCHES", 1)
    chances = [p_value(pictures(10), pictures(10), seed) for seed in range(600)]
    for level in (0.02, 0.1, 0.5):
        alarms = sum(chance <= level for chance in chances)
        assert binomtest(alarms, len(chances), level).pvalue > 1e-4, (level, alarms)
