"""Honest runs pass; every mistake of the test-only engine is seen by the same tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.views import broken
from tests.views.nonces import examine_nonces
from tests.views.small import PLAN, Watched, model, two_classes, watch
from twinveil.views.audit import ViewsReport, audit
from twinveil.views.chances import FALSE_ALARMS, holm
from twinveil.views.collection import with_items
from twinveil.views.fields import fields
from twinveil.views.statistics import RANGE, examine

pytestmark = pytest.mark.slow

Mistake = Callable[[], AbstractContextManager[None]]

EACH = 8
"""Queries for each of two classes of pictures."""

SEEN = [
    (broken.zero_u, "packed", "cloud_s1, shared image - u: values"),
    (broken.zero_u, "packed", "cloud_s1, shared pool - u: values"),
    (broken.one_u_for_all_pictures, "packed", "cloud_s1, shared image - u: across"),
    (broken.zero_rho, "packed", "cloud_s1, shared image xor rho: values"),
    (broken.zero_rho, "packed", "cloud_s1, shared conv - rho: values"),
    (broken.items_used_twice, "packed", "cloud_s1, shared_turn.shares image: across"),
    (broken.items_used_twice, "packed", "cloud_s2, labels.labels: across"),
    (broken.zero_r, "packed", "cloud_s2, shared image - r: values"),
    (broken.zero_r, "packed", "cloud_s2, shared pool - r: values"),
    (broken.fixed_seed, "packed", "cloud_s2, shared image - r: across"),
    (broken.one_mask_for_many, "packed", "cloud_s2, shared image - r: neighbours"),
    (broken.zero_sum_masks, "packed", "cloud_s2, decrypted ahead: values"),
    (broken.short_sum_masks, "packed", "cloud_s2, decrypted ahead: values"),
    (broken.pictures_in_clear, "packed", "cloud_s1, half image, words: values"),
    (broken.pictures_in_clear, "packed", "cloud_s2, half image, words: values"),
    (broken.zero_picture_mask, "textbook", "cloud_s2, decrypted image: values"),
    (broken.unpacked_products, "textbook", "cloud_s1, half image: values"),
    (broken.sign_test_by_product, "textbook", "cloud_s2, decrypted conv: values"),
]
"""Mistake, engine, what must be among the alarms."""


def judged(watched: Watched) -> ViewsReport:
    """The report, told which pictures belong together, and with them their items."""
    classes = {
        id(view): ("upright", "lying")[number % 2]
        for role, views in watched.views.items()
        for number, query in enumerate(watched.queries(role))
        for view in with_items(query, views)
    }
    return audit([view for views in watched.views.values() for view in views], classes)


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_honest_clouds_raise_no_alarm(engine: str) -> None:
    report = judged(watch(two_classes(EACH), engine=engine))
    assert report.clean, report.alarms
    assert len(report.findings) > 80
    parts = ["import", "query"] + ["opening of items", "first item", "item"] * (engine == "packed")
    kinds = {(kind.cloud, kind.what) for kind in report.kinds}
    assert kinds == {(cloud, f"{part}, {engine}") for cloud in ("cloud_s1", "cloud_s2") for part in parts}
    assert {(guess.cloud, guess.guesses) for guess in report.guesses} == {
        ("cloud_s1", EACH),
        ("cloud_s2", EACH),
    }


def test_label_only_queries_are_a_kind_of_their_own() -> None:
    watched = watch(two_classes(2), label_only=True)
    report = judged(watched)
    assert report.clean, report.alarms
    queries = [kind for kind in report.kinds if kind.what == "query, packed, label only"]
    assert [(kind.cloud, kind.views) for kind in queries] == [("cloud_s1", 4), ("cloud_s2", 4)]


@pytest.mark.parametrize(
    ("mistake", "engine", "alarm"), SEEN, ids=[f"{mistake.__name__}-{alarm}" for mistake, _, alarm in SEEN]
)
def test_a_mistake_is_seen(mistake: Mistake, engine: str, alarm: str) -> None:
    with mistake():
        report = judged(watch(two_classes(EACH), engine=engine))
    assert [each for each in report.alarms if each.startswith(alarm)], report.alarms


@pytest.mark.heavy
@pytest.mark.parametrize("mistake", [nullcontext, broken.six_bits_of_slack])
def test_little_slack_is_seen_where_values_leave_the_range_of_their_masks(mistake: Mistake) -> None:
    """Sixteen items a query: what leaves a mask's range is rare. As they are, and 1,000 times as many."""
    with mistake():
        watched = watch(two_classes(4, PLAN), model(PLAN), batch=16)
    report = judged(watched)
    assert report.clean == (mistake is nullcontext)
    assert ("cloud_s2, decrypted ahead: range" in "\n".join(report.alarms)) != report.clean
    ranges = [
        found.p
        for field in fields(watched.kind("cloud_s2", "item"))
        if field.statistical and field.fractions is not None
        for found in examine("cloud_s2", replace(field, fractions=np.tile(field.fractions, (1000, 1))))
        if found.test == RANGE
    ]
    assert len(ranges) == 1
    assert any(holm(ranges, FALSE_ALARMS / report.tests)) != report.clean


@pytest.mark.parametrize("stale", [False, True])
def test_nonces_that_s2_knows_are_seen(stale: bool) -> None:
    with broken.no_rerandomisation() if stale else nullcontext():
        watched = watch(two_classes(15))
    s1, s2 = (watched.kind(role, "item") for role in watched.views)
    found = list(examine_nonces(s1, s2, secret_key(256)._p))
    assert len(found) >= 2
    assert any(holm([each.p for each in found])) == stale


@pytest.mark.heavy
def test_many_honest_views_tell_nothing() -> None:
    each = 60
    report = judged(watch(two_classes(each, PLAN), model(PLAN)))
    assert report.clean, report.alarms
    assert {guess.what for guess in report.guesses} == {"query, packed", "item, packed"}
    for guess in report.guesses:
        assert guess.guesses >= each - 2  # the first item is of a kind of its own
        assert guess.p > 1e-6


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("mistake", "cloud"),
    [
        (broken.zero_u, "cloud_s1"),
        (broken.one_u_for_all_pictures, "cloud_s1"),
        (broken.zero_r, "cloud_s2"),
        (broken.fixed_seed, "cloud_s2"),
    ],
)
def test_the_distinguisher_learns_where_there_is_something_to_learn(mistake: Mistake, cloud: str) -> None:
    with mistake():
        report = judged(watch(two_classes(20)))
    (guess,) = [each for each in report.guesses if (each.cloud, each.what) == (cloud, "query, packed")]
    assert guess.bounds[0] > 0.5
    assert guess.p < 1e-3
