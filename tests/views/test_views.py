"""Views on disk and on the page, and what makes structures differ."""

from __future__ import annotations

import errno
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.views.small import TINY, Watched, digit, model, two_classes, watch
from twinveil.errors import BadInput, PeerMismatch
from twinveil.protocol.binding import QueryHead
from twinveil.rehearsal.clouds import Clouds
from twinveil.rounds.observer import NOBODY, Topic
from twinveil.rpc import rounds_pb2 as pb
from twinveil.start.settings import CloudS1Settings, CloudS2Settings
from twinveil.views.audit import audit
from twinveil.views.collection import asked, load, with_items, write_pictures
from twinveil.views.fields import fields
from twinveil.views.page import page
from twinveil.views.recorder import Recording, keep, recorder
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
    times = [
        [view.asked or 0.0 for view in views]
        for views in zip(*map(watched.queries, watched.views), strict=True)
    ]
    write_pictures(
        tmp_path,
        [asked(min(both) - 0.001, max(both) + 0.001, "upright", "1", digit(0, 0)) for both in times],
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
    assert {event.what for event in s1.events} == {"sent", "half", "received", "shared"}
    assert {event.what for event in s2.events} == {"sent", "half", "received", "shared", "answered"}
    (item,) = watched.kind("cloud_s2", "item")
    assert {event.what for event in item.events} == {"sent", "received", "decrypted"}
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
    folder = next(recorded.rglob("*-import"))
    index, arrays = (folder / INDEX).read_text(), (folder / ARRAYS).read_bytes()
    (folder / ARRAYS).write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(BadInput, match="not those"):
        read(folder)
    (folder / ARRAYS).write_bytes(arrays)
    (folder / INDEX).write_text(index.replace('"format": 2', '"format": 3'))
    with pytest.raises(BadInput, match="format 3"):
        read(folder)
    strange = [index.replace('"seconds"', '"second"'), index.replace('"label_only": null', '"label_only": 2')]
    assert index not in strange
    for damaged in (index[:-20], "[]", "{}", *strange):
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
    assert len(found.views) == 2 * (1 + 1 + 2 + 2)
    assert [set(views) for _, views in found.matched] == [{"cloud_s1", "cloud_s2"}] * 2
    assert set(found.classes.values()) == {"upright"}
    assert len(found.classes) == 2 * (2 + 2)
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
        for part in ("query", "item"):
            structures |= {
                str(view.structure()) for role in watched.views for view in watched.kind(role, part)
            }
    assert len(structures) == 4


def test_another_structure_is_an_alarm(watched: Watched) -> None:
    one, other = watched.queries("cloud_s2")
    for changed in (
        other.events[1:],
        [*other.events, other.events[-1]],
        [*other.events[:3], other.events[4], other.events[3], *other.events[5:]],
        [replace(other.events[0], size=other.events[0].size + 1), *other.events[1:]],
    ):
        report = audit([one, replace(other, events=list(changed))])
        assert [alarm for alarm in report.alarms if "structure differs" in alarm]


def test_nothing_goes_untested(watched: Watched) -> None:
    view = watched.queries("cloud_s1")[0]
    turns = [event for event in view.events if event.name == "shared_turn"]
    shares = turns[0].arrays["shares"]
    for strange, why in (
        ([replace(turns[0], arrays={"news": shares})], "cannot judge"),
        ([replace(turns[0], arrays={"shares": shares[1:]})], "no image"),
        ([*turns, turns[0]], "shared_turn is not as"),
        (
            [replace(event, arrays={}) for event in view.events if event.what == "half"],
            "half image is not as",
        ),
    ):
        with pytest.raises(BadInput, match=why):
            fields([replace(view, events=strange)])


def test_an_item_is_found_by_the_query_that_spent_it(watched: Watched) -> None:
    for role, views in watched.views.items():
        items = [view for view in views if view.part in ("first item", "item")]
        for number, query in enumerate(watched.queries(role)):
            assert with_items(query, views) == [items[number], query]
        assert with_items(watched.queries(role)[0], []) == watched.queries(role)[:1]


def test_each_item_is_a_view_of_its_own_and_its_number_changes_nothing() -> None:
    """As thousands of them are made in one conversation."""
    done: list[View] = []
    seen = Recording("cloud_s2", done.append)
    seen.about(Topic("items", TINY, "packed", 1, secret_key(256).public_key.n, 64))
    seen.received(pb.Round(open_items=pb.OpenItems(session_id=b"session")))
    seen.sent(pb.Round(items_opened=pb.ItemsOpened()))
    for number in (0, 1, 127, 128, 70_000):
        seen.received(pb.Round(make_item=pb.MakeItem(number=number)))
        seen.sent(pb.Round(item_words=pb.ItemWords(words=bytes(3))))
        assert not seen.view.events
        assert done[-1].items == ((b"session".hex(), number),)
        spent = Recording("cloud_s2", done.append)
        spent.received(pb.Round(spend=pb.Spend(items=[pb.Spend.Item(session_id=b"session", number=number)])))
        spent.close()
    seen.close()
    assert len(done) == 1 + 5 + 5
    assert len({str(view.structure()) for view in done}) == 3


def test_a_query_that_s2_refuses_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    clouds = Clouds(model(), secret_key(256), observer=watched.observer)
    for reason in (None, "short", "a longer reason"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(PeerMismatch, match=reason) if reason else nullcontext(),
        ):
            if reason:
                patch.setattr(QueryHead, "check", Mock(side_effect=PeerMismatch(reason)))
            clouds.classify(digit(0, 0)[None])
    report = audit([view for views in watched.views.values() for view in views if view.topic])
    assert report.clean, report.alarms
    assert sum(kind.views for kind in report.kinds if kind.what == "query, packed, withheld") == 2


def test_an_import_for_both_engines_is_one_view() -> None:
    watched = Watched()
    Clouds(model(), secret_key(256), ("packed", "textbook"), observer=watched.observer)
    (view,) = watched.views["cloud_s2"]
    assert (view.what, view.subject.sigma) == ("import, packed+textbook", 40)
    report = audit([view, *watched.views["cloud_s1"]])
    assert report.clean, report.alarms
    assert {"decrypted weights conv", "masked_kernel.corrections borrows", "output weights"} <= {
        found.field for found in report.findings
    }


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
