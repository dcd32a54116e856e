"""The range of masks over many views: a small sigma shows among thousands; chance and rounding do not."""

from __future__ import annotations

import numpy as np
import pytest
from gmpy2 import mpz

from tests.views.small import TINY
from twinveil.rounds.observer import Masking, Topic
from twinveil.views.chances import FALSE_ALARMS
from twinveil.views.fields import Field, Floats, fields
from twinveil.views.statistics import RANGE, SIGMA, examine, lone
from twinveil.views.view import Event, View, rows

TESTS = 1180
"""In one report, as of the default network."""
VALUES = 16


def sums(views: int, sigma: int) -> Floats:
    """Sums of 20 bits under masks of sigma bits more, as places in the range of the masks."""
    source = np.random.default_rng(1)
    values, masks = source.random((views, VALUES)), source.random((views, VALUES))
    return masks + values * 2.0**-sigma


def chance(fractions: Floats) -> float:
    field = Field("sums", fractions, np.zeros(fractions.shape, np.uint8), 256, statistical=True)
    (found,) = [each for each in examine("cloud_s2", field) if each.test == RANGE]
    return found.p


@pytest.mark.parametrize("views", [16, 1600, 5000])
def test_a_small_sigma_shows_in_few_views_and_in_many(views: int) -> None:
    assert chance(sums(views, sigma=6)) < FALSE_ALARMS / TESTS
    assert chance(sums(views, sigma=SIGMA)) == 1


def test_one_value_outside_shows_in_few_views_only_and_two_in_many() -> None:
    most = lone(TESTS)
    for views, outside, shows in ((most, 1, True), (most + 2, 1, False), (5000, 1, False), (5000, 2, True)):
        fractions = np.full((views, VALUES), 0.5)
        fractions[:outside, 3] = 1.01
        assert (chance(fractions) <= FALSE_ALARMS / TESTS) == shows, (views, outside)


def test_the_last_value_of_a_range_is_inside() -> None:
    topic = Topic("query", TINY, "packed", 1, mpz(3) << 254, SIGMA)
    for masking in (Masking(100), Masking(100, 1 << 60)):
        edges = [mpz(masking.offset), mpz(masking.offset + (1 << masking.bits) - 1)]
        event = Event(
            "decrypted", "sums", 0.0, bits=256, masking=masking, arrays={"values": rows(edges, 256)}
        )
        (field,) = fields([View("cloud_s2", 0.0, topic, [event])])
        assert field.fractions is not None
        assert field.fractions.max() >= 1
        assert chance(field.fractions) == 1


def test_a_short_mask_in_a_long_plaintext() -> None:
    """As of few weights under a key of 3072 bits: beyond a double's range."""
    topic = Topic("import", TINY, "packed", 1, mpz(3) << 3070, SIGMA)
    for value, inside in ((mpz(1) << 99, True), (mpz(1) << 3000, False)):
        event = Event(
            "decrypted", "w", 0.0, bits=3072, masking=Masking(100), arrays={"values": rows([value], 3072)}
        )
        (field,) = fields([View("cloud_s2", 0.0, topic, [event])])
        assert field.fractions is not None
        assert np.isfinite(field.fractions).all()
        assert (field.fractions == 0.5).all() == inside
        assert (chance(np.repeat(field.fractions, 16, axis=1)) == 1) == inside
