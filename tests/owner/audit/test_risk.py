"""The risk's formula, its interval, and the words it is put in."""

from __future__ import annotations

import numpy as np
import pytest

from owner.audit.risk import Risk, Thresholds, risk
from twinveil.errors import BadInput

PEOPLE = np.repeat(np.arange(10), 4)


def test_the_formula_by_hand() -> None:
    subjects = np.arange(4)
    found = risk(np.full(4, 0.7), [np.full(4, 0.2), np.full(4, 0.4)], subjects, 1)
    assert found.score == pytest.approx((0.7 - 0.4) / (1 - 0.4))
    assert found.baseline == pytest.approx(0.4)
    assert found.lower == pytest.approx(found.score) == pytest.approx(found.upper)


@pytest.mark.parametrize(("similarity", "score"), [(0.3, 0.0), (0.1, 0.0), (1.0, 1.0)])
def test_the_scale_ends_at_the_baseline_and_at_the_picture(similarity: float, score: float) -> None:
    found = risk(np.full(40, similarity), [np.full(40, 0.3)], PEOPLE, 1)
    assert (found.score, found.lower, found.upper) == pytest.approx((score, score, score))


def test_the_interval_holds_the_score_and_repeats_itself() -> None:
    source = np.random.default_rng(1)
    values, baseline = source.normal(0.6, 0.1, 40), source.normal(0.3, 0.1, 40)
    found = risk(values, [baseline], PEOPLE, 1)
    assert 0 < found.lower < found.score < found.upper < 1
    assert risk(values, [baseline], PEOPLE, 1) == found


def test_pictures_of_one_person_do_not_count_as_many_people() -> None:
    """Ten people who differ, forty pictures: the interval is as wide as ten people make it."""
    values = np.repeat(np.random.default_rng(1).normal(0.6, 0.1, 10), 4)
    baseline = np.full(40, 0.3)
    by_person, by_picture = (risk(values, [baseline], who, 1) for who in (PEOPLE, np.arange(40)))
    assert by_person.upper - by_person.lower > 1.5 * (by_picture.upper - by_picture.lower)


def test_a_level_is_that_of_the_intervals_upper_end() -> None:
    limits = Thresholds(0.1, 0.4)
    assert limits.level(Risk(0.05, 0.01, 0.09, 0.3), True) == "low"
    assert limits.level(Risk(0.05, 0.01, 0.1, 0.3), True) == "medium"
    assert limits.level(Risk(0.35, 0.3, 0.4, 0.3), True) == "high"
    assert Thresholds(0.02, 0.04).level(Risk(0.05, 0.01, 0.09, 0.3), True) == "high"


def test_a_weak_attacker_shows_no_low_risk() -> None:
    assert Thresholds().level(Risk(0.0, 0.0, 0.0, 0.3), False) == "attacker too weak"
    assert Thresholds().level(Risk(0.2, 0.1, 0.3, 0.3), False) == "attacker too weak"
    assert Thresholds().level(Risk(0.9, 0.8, 0.95, 0.3), False) == "high"


@pytest.mark.parametrize("limits", [(0.4, 0.1), (0.0, 0.4), (0.2, 1.0), (0.3, 0.3)])
def test_thresholds_that_cannot_be(limits: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match="thresholds must be"):
        Thresholds(*limits)
