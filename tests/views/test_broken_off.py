"""Conversations that were broken off: tested as far as they went, and for whose pictures it happens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.crypto.crypto_keys import secret_key
from tests.views.small import Watched, digit, model, two_classes, watch
from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.rehearsal.clouds import Clouds
from twinveil.rounds.observer import Observer
from twinveil.verbs.views import views
from twinveil.views.audit import ViewsReport, audit
from twinveil.views.collection import asked, write_pictures
from twinveil.views.recorder import Recording, keep
from twinveil.views.view import View

pytestmark = pytest.mark.slow

EACH = 18
"""Queries for each of two classes: as few as can show an association among some hundred tests."""
CLASSES = ("upright", "lying")


@pytest.fixture(scope="module")
def watched() -> Watched:
    return watch(two_classes(EACH))


def cut(view: View, end: int | None) -> View:
    return replace(view, events=view.events[:end])


def judged(watched: Watched, ends: Callable[[int], int | None], role: str = "cloud_s2") -> ViewsReport:
    """A report on queries, broken off after so many events each; None: not at all."""
    seen = [cut(view, ends(number)) for number, view in enumerate(watched.queries(role))]
    return audit(seen, {id(view): CLASSES[number % 2] for number, view in enumerate(seen)})


@pytest.mark.parametrize("role", ["cloud_s1", "cloud_s2"])
def test_breaking_off_whatever_the_picture_is_no_alarm(watched: Watched, role: str) -> None:
    report = judged(watched, lambda number: 2 + number // 6 if number % 4 < 2 else None, role)
    assert report.clean, report.alarms
    assert report.unfinished == EACH
    assert [kind.views for kind in report.kinds if kind.what == "query, packed"] == [EACH]
    assert "other than the picture's class" in report.not_shown


@pytest.mark.parametrize(
    "ends",
    [
        lambda number: 6 if number % 2 else None,
        lambda number: 2 + number // 6 if number % 2 else None,
        lambda number: 5 if number % 2 else 8,
    ],
    ids=["at one event", "anywhere", "at another event"],
)
def test_a_cloud_that_breaks_off_for_one_class_is_found(
    watched: Watched, ends: Callable[[int], int | None]
) -> None:
    report = judged(watched, ends)
    assert report.alarms
    assert all(alarm.startswith("cloud_s2, end of a query, packed: ") for alarm in report.alarms)


def test_recordings_with_their_pictures_are_told_the_same_way(
    watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = []
    for number, (one, other) in enumerate(zip(*map(watched.queries, watched.views), strict=True)):
        for view in (one, cut(other, 6 if number % 2 else None)):
            keep(tmp_path / view.role, view)
        begin, end = (view.asked or 0.0 for view in (one, other))
        pictures.append(asked(begin - 0.001, end + 0.001, CLASSES[number % 2], "", digit(number % 2, number)))
    write_pictures(tmp_path, pictures)
    report = tmp_path / "views.html"
    with pytest.raises(typer.Exit):
        views(tmp_path, report=report)
    told = capsys.readouterr().out
    assert "ALARM cloud_s2, end of a query, packed: broken off at event 6 and of class lying" in told
    for shown in (told, report.read_text()):
        assert f"{EACH} views are of conversations that were broken off" in shown
        assert re.search(r"an alarm among up to [\d,]+ views of a kind", shown)


def test_what_came_before_is_tested(watched: Watched) -> None:
    """The structure, against finished views or the longest, and the statistics."""
    one, other, *_ = watched.queries("cloud_s2")
    for at in (2, 5):
        longer = replace(other.events[at], size=other.events[at].size + 1)
        bent = replace(other, events=[*other.events[:at], longer, *other.events[at + 1 : 6]])
        for whole in (one, cut(one, 8)):
            report = audit([whole, bent])
            assert ["structure differs" in alarm for alarm in report.alarms] == [True]
            assert audit([whole, cut(other, 6)]).clean
    same = [cut(one, 6)] * 8
    assert [alarm for alarm in audit([one, other, *same]).alarms if "across" in alarm]


def test_one_for_the_label_is_not_held_against_one_for_the_vector(watched: Watched) -> None:
    label = watch(two_classes(1), label_only=True)
    for role in label.views:
        (one, other), vector = label.queries(role), watched.queries(role)[0]
        for end in (2, 6):
            for some in ([one, cut(vector, end)], [vector, cut(other, end)], [one, vector, cut(other, end)]):
                report = audit(some)
                assert report.clean, report.alarms
                assert "classes are not known" in report.not_shown


class Breaking(Recording):
    """Breaks the conversation off when so many events are written down."""

    end = 0

    def _add(self, *arguments: Any, **named: Any) -> None:
        super()._add(*arguments, **named)
        if len(self.view.events) == self.end:
            raise PeerUnavailable("broken off")


def broken_off(ends: Sequence[tuple[str, int]]) -> Watched:
    """Queries of two classes by turns; for each the cloud and the event at which it breaks off, 0: never."""
    watched = Watched()
    ending = {"cloud_s1": 0, "cloud_s2": 0}

    def observer(role: str) -> Observer:
        made = Breaking(role, watched.views[role].append)
        made.end = ending[role]
        return made

    clouds = Clouds(model(), secret_key(256), observer=observer)
    for number, (role, end) in enumerate(ends):
        ending[role] = end
        with pytest.raises(TwinveilError) if end else nullcontext():
            clouds.classify(digit(number % 2, number)[None])
        ending[role] = 0
    return watched


def test_wherever_a_cloud_breaks_off_the_views_of_both_fit() -> None:
    ends = [(role, end) for role in ("cloud_s1", "cloud_s2") for end in range(3, 10, 2)]
    watched = broken_off([("cloud_s1", 0), *ends])
    report = audit([view for some in watched.views.values() for view in some])
    assert report.clean, report.alarms
    found = Counter[str]()
    for kind in report.kinds:
        found[kind.what] += kind.views
    assert found["import, packed"] == found["query, packed"] == 2
    assert found["query, packed, broken off"] == report.unfinished == 2 * len(ends)
    assert found["item, packed"] == 2 * len(ends)


@pytest.mark.heavy
def test_what_one_cloud_does_to_one_class_is_found_in_the_views_of_both() -> None:
    watched = broken_off([("cloud_s2", 7 * (number % 2)) for number in range(2 * EACH)])
    for role in watched.views:
        report = judged(watched, lambda number: None, role)
        assert report.alarms
        assert all(alarm.startswith(f"{role}, end of a query, packed: ") for alarm in report.alarms)
