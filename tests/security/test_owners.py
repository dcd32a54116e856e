"""Clients and what is theirs: an owner its models, a waiting half its place and time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloud_s2.provision import ProvisionS2
from cloud_s2.queries import QueriesS2
from tests.security.world import OWNER, UNCLAIMED, USER, World, finish, tiny_model, tiny_plan
from twinveil.errors import NotAllowed, PeerMismatch, PeerUnavailable, UnknownModel

SECOND = replace(OWNER, name="second", fingerprint=b"2" * 32)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.outsource(tiny_model())
    return made


def test_a_model_is_removed_by_its_owner_alone(world: World) -> None:
    for restarted in (False, True):
        if restarted:
            world.start()
        for provision in (world.provision1, world.provision2):
            with pytest.raises(NotAllowed, match="belongs to owner/main"):
                provision.remove_model("tiny", "1", SECOND)
            assert len(provision.list_models(OWNER)) == 1
    renewed = replace(OWNER, fingerprint=b"n" * 32)
    for provision in (world.provision1, world.provision2):
        provision.remove_model("tiny", "1", renewed)
        assert not provision.list_models(OWNER)
        with pytest.raises(UnknownModel):
            provision.remove_model("tiny", "1", SECOND)


def test_a_model_that_is_of_no_use_is_removed_by_any_owner(world: World) -> None:
    """Its record is not read any more, so nobody knows whose it was."""
    for role in ("s1", "s2"):
        (world.root / role / "tiny@1" / "record.json").write_text("{}")
    for provision in (world.provision1, world.provision2):
        provision.remove_model("tiny", "1", SECOND)
        assert not provision.list_models(OWNER)


def test_a_model_under_another_key_is_refused(world: World) -> None:
    record = world.models1.store.find("tiny", "1")
    with pytest.raises(PeerMismatch, match="under another key"):
        world.models1.load(replace(record, fingerprint="00" * 32), world.public)


def test_a_model_that_is_removed_is_forgotten(world: World) -> None:
    record = world.models1.store.find("tiny", "1")
    world.models1.load(record, world.public)
    world.models2.load(record.import_id)
    for provision in (world.provision1, world.provision2):
        provision.remove_model("tiny", "1", OWNER)
    assert not world.models1.loaded._models
    assert not world.models2.loaded._models


def test_a_query_gets_no_numbers_of_a_model_that_took_its_models_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that a query, or one that is prepared ahead, has found is of the model before."""
    record = world.models1.store.find("tiny", "1")
    for provision in (world.provision1, world.provision2):
        provision.remove_model("tiny", "1", OWNER)
    world.outsource(tiny_model(seed=1))
    with pytest.raises(UnknownModel, match="was replaced meanwhile: ask again"):
        world.models1.load(record, world.public)
    monkeypatch.setattr(world.models2.store, "of_import", lambda _: record)
    with pytest.raises(UnknownModel, match="was replaced meanwhile: ask again"):
        world.models2.load(record.import_id)
    for store in (world.models1.store, world.models2.store):
        monkeypatch.setattr(store, "find", lambda *_: record)
    with pytest.raises(UnknownModel, match="was replaced meanwhile: ask again"):
        world.ask(world.query(tiny_plan()))


def test_a_half_that_is_never_taken_up_does_not_keep_its_place(world: World) -> None:
    """The conftest lets a heartbeat be a millisecond."""
    queries = QueriesS2(world.models2, world.params, world.public.n, 0.01)
    waiting = queries.classify(world.query(tiny_plan()).s2, USER)
    with pytest.raises(PeerUnavailable, match="did not take up"):
        finish(waiting)
    assert queries.running == 0
    provision = ProvisionS2(world.models2, world.params, world.public, 0.01)
    _, half = world.halves(tiny_model())
    with pytest.raises(PeerUnavailable, match="did not take up"):
        finish(provision.outsource(world.header(tiny_plan(), "late"), iter([half]), OWNER))


def test_a_half_that_was_taken_up_waits_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cloud_s2.pending.time", SimpleNamespace(monotonic=lambda: now[0]))
    query = world.query(tiny_plan())
    waiting = world.queries2.classify(query.s2, USER)
    next(waiting)
    pending = world.queries2.claim(query.s2.query_id, 1.0, lambda head: None)
    now[0] += 2 * UNCLAIMED
    next(waiting)
    pending.finish(b"answer")
    assert finish(waiting).half == b"answer"
