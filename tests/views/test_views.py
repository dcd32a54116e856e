"""Views on disk and on the page, and what makes structures differ."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.views.small import TINY, Watched, digit, model, two_classes, watch
from twinveil.errors import BadInput
from twinveil.rounds.observer import NOBODY
from twinveil.start.settings import CloudS1Settings, CloudS2Settings
from twinveil.views.audit import audit
from twinveil.views.collection import asked, load, write_pictures
from twinveil.views.fields import fields
from twinveil.views.page import page
from twinveil.views.recorder import keep, recorder
from twinveil.views.view import ARRAYS, INDEX, View, read, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched() -> Watched:
    return watch(two_classes(1))


@pytest.fixture
def recorded(watched: Watched, tmp_path: Path) -> Path:
    """A folder as the demo leaves it."""
    for role, views in watched.views.items():
        for view in views:
            keep(tmp_path / role, view)
    times = [view.asked or 0.0 for view in watched.queries("cloud_s1")]
    write_pictures(
        tmp_path,
        [asked(time - 0.001, time + 0.05, "upright", "1", digit(0, 0)) for time in times],
    )
    return tmp_path


def test_a_view_comes_back_whole(watched: Watched, tmp_path: Path) -> None:
    for number, view in enumerate(watched.views["cloud_s2"]):
        folder = tmp_path / str(number)
        write(view, folder)
        assert (folder / INDEX).stat().st_mode & 0o777 == 0o600
        back = read(folder)
        assert back.structure() == view.structure()
        assert back.subject == view.subject
        for old, new in zip(view.events, back.events, strict=True):
            assert all(np.array_equal(old.arrays[name], new.arrays[name]) for name in old.arrays)


def test_views_hold_what_each_cloud_sees(watched: Watched) -> None:
    s1, s2 = (watched.queries(role)[0] for role in ("cloud_s1", "cloud_s2"))
    assert {event.what for event in s1.events} == {"sent", "half", "received"}
    assert {event.what for event in s2.events} == {
        "sent", "half", "received", "decrypted", "evaluated", "answered",
    }  # fmt: skip
    assert [e.name for e in s1.events if e.what == "sent"] == [
        e.name for e in s2.events if e.what == "received"
    ]
    times = [event.seconds for event in s2.events]
    assert times == sorted(times)


def test_no_secret_is_written(recorded: Path) -> None:
    secret = secret_key(256)
    for file in recorded.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            for prime in (int(secret._p), int(secret._q)):
                size = -(-prime.bit_length() // 8)
                forms = [prime.to_bytes(size, order) for order in ("big", "little")]
                forms += [str(prime).encode(), f"{prime:x}".encode()]
                assert not any(form in data for form in forms)


def test_a_damaged_view_is_refused(recorded: Path) -> None:
    folder = next(recorded.rglob(INDEX)).parent
    index, arrays = (folder / INDEX).read_text(), (folder / ARRAYS).read_bytes()
    (folder / ARRAYS).write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(BadInput, match="not those"):
        read(folder)
    (folder / ARRAYS).write_bytes(arrays)
    (folder / INDEX).write_text(index.replace('"format": 1', '"format": 2'))
    with pytest.raises(BadInput, match="format 2"):
        read(folder)
    for damaged in (index[:-20], "[]", "{}", index.replace('"seconds"', '"second"')):
        (folder / INDEX).write_text(damaged)
        with pytest.raises(BadInput):
            read(folder)


def test_recording_is_off_unless_asked_for_and_loud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert recorder(CloudS1Settings())() is NOBODY
    assert not caplog.records
    made = recorder(CloudS2Settings(record=tmp_path))
    assert "RECORDS" in caplog.text
    assert made() is not made()


def test_pictures_meet_their_views(recorded: Path) -> None:
    found = load(recorded)
    assert len(found.views) == 6
    assert [set(views) for _, views in found.matched] == [{"cloud_s1", "cloud_s2"}] * 2
    assert set(found.classes.values()) == {"upright"}
    with pytest.raises(BadInput, match="no views"):
        load(recorded / "nowhere")


def test_the_page_stands_alone_and_shows_each_side(recorded: Path) -> None:
    found = load(recorded)
    shown = page(audit(found.views, found.classes), found)
    assert shown.count("<img ") == 2 * (1 + 3 + 3)
    assert "http" not in shown
    for words in ("The user has", "S1 sees", "S2 sees", "No alarm", "shows upright"):
        assert words in shown


def test_json_of_a_report(recorded: Path) -> None:
    found = json.loads(json.dumps(audit(load(recorded).views).as_dict()))
    assert found["clean"] is True
    assert found["correction"] == "Holm"
    assert found["tests"] == len(found["statistics"]) > 50


def test_the_structure_is_the_same_for_every_picture_and_all_weights() -> None:
    edges = [np.zeros(TINY.image_shape, np.uint8), np.full(TINY.image_shape, 255, np.uint8), digit(0, 1)]
    structures = set()
    for weights in (model(seed=1), model(seed=2), model(fill=0), model(fill=-128)):
        watched = watch(edges, weights)
        structures |= {str(view.structure()) for view in watched.queries("cloud_s1")}
        structures |= {str(view.structure()) for view in watched.queries("cloud_s2")}
    assert len(structures) == 2


def test_another_structure_is_an_alarm(watched: Watched) -> None:
    one, other = watched.queries("cloud_s2")
    for changed in (
        other.events[1:],
        [*other.events, other.events[-1]],
        [*other.events[:3], other.events[4], other.events[3], *other.events[5:]],
        [replace(other.events[0], size=other.events[0].size + 1), *other.events[1:]],
    ):
        report = audit([one, View(other.role, other.began, other.topic, changed)])
        assert [alarm for alarm in report.alarms if "structure differs" in alarm]


def test_nothing_goes_untested(watched: Watched) -> None:
    view = watched.queries("cloud_s1")[0]
    reply = next(event for event in view.events if event.name == "corrections")
    strange = [replace(reply, arrays={"news": reply.arrays["bits"]})]
    with pytest.raises(BadInput, match="cannot judge"):
        fields([View(view.role, view.began, view.topic, strange)])


def test_a_view_that_does_not_fit_leaves_nothing(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arrays do, the index after them does not."""
    writes = iter([None, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])

    def sync(_: int) -> None:
        if error := next(writes):
            raise error

    monkeypatch.setattr(os, "fsync", sync)
    keep(tmp_path, watched.views["cloud_s2"][0])
    assert list(tmp_path.iterdir()) == []
