"""What serves once serves once: in one process, in a fork, and across a crash."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from cloud_s1.stock import Held
from tests.security.forks import in_forks
from tests.security.peers import At
from tests.security.world import MEMORY, OWNER, S1, USER, World, finish, tiny_model, tiny_plan
from tests.system.town import wait_until
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.tally import Tally
from twinveil.errors import AlreadyUsed, OutOfOrder, PeerUnavailable, TooMuch, TwinveilError
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.textbook.circuits import label
from twinveil.protocol.textbook.exchange import Circuits, Exchange
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarblerSide
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


class Pair:
    """One garbled step with its oblivious transfers, both sides."""

    def __init__(self) -> None:
        self.step = label(8, 2, 1)
        session, choices = b"s" * 16, random_choices()
        sender = BaseSender(session)
        receiver = BaseReceiver(session, sender.first(), choices)
        self.s1 = ExtensionSender(receiver.keys, choices, session)
        self.s2 = ExtensionReceiver(sender.keys(receiver.reply), session)
        self.sender = sender
        self.reply = receiver.reply
        self.s1.accept(self.s2.prepare(self.step.choices), self.step.choices)
        self.garbler, self.evaluator = GarblerSide(self.step), EvaluatorSide(self.step, self.s2)
        self.inputs = {name: np.zeros(shape, np.bool_) for name, shape in self.step.garbler.items()}
        self.own = {name: np.zeros(shape, np.bool_) for name, shape in self.step.evaluator.items()}


def test_a_circuit_serves_once() -> None:
    pair = Pair()
    corrections = pair.evaluator.choose(pair.own)
    batch = pair.garbler.send(pair.s1, pair.inputs, corrections)
    pair.evaluator.evaluate(batch)
    with pytest.raises(OutOfOrder):
        pair.evaluator.evaluate(batch)
    with pytest.raises(OutOfOrder):
        pair.evaluator.choose(pair.own)
    with pytest.raises(AlreadyUsed):
        pair.garbler.send(pair.s1, pair.inputs, corrections)


def test_transfers_serve_once() -> None:
    pair = Pair()
    pair.evaluator.choose(pair.own)
    with pytest.raises(OutOfOrder):
        EvaluatorSide(pair.step, pair.s2).choose(pair.own)
    with pytest.raises(AlreadyUsed):
        pair.sender.keys(pair.reply)
    with pytest.raises(AlreadyUsed):
        pair.sender.first()


def test_a_plan_has_no_further_circuit() -> None:
    pair = Pair()
    circuits = Circuits(iter([pair.step]), pair.s2)
    circuits.next()
    with pytest.raises(OutOfOrder):
        circuits.next()
    link = Exchange(lambda message: message, pair.s1, iter([pair.garbler]))
    link.garbled(pair.inputs, pair.evaluator.choose(pair.own))
    with pytest.raises(OutOfOrder):
        link.garbled(pair.inputs, b"")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.outsource(tiny_model(), engines=("packed", "textbook"))
    return made


def ready(world: World, count: int = 1) -> list[Held]:
    """Items of the model as S1 has them, nothing else lying ready."""
    while world.queries1.stock.give_way():
        """Those of other tests."""
    world.make_items(count)
    return list(world.queries1.stock._ready)


def kept(world: World) -> ItemS2:
    """The one item that S2 has."""
    ((item, _),) = (each for shelf in world.shelves._shelves.values() for each in shelf.items.values())
    return item


def test_an_item_serves_one_query(world: World) -> None:
    (held,) = ready(world)
    item = kept(world)
    world.ask(world.query(tiny_plan()))
    assert world.queries1.stock.count == world.shelves.count == 0
    for half in (held.item, item):
        with pytest.raises(AlreadyUsed, match="serves one picture"):
            half.spend()
    held.lane.out += 1
    world.queries1.stock._keep_ready(held)  # as no honest S1 does
    query = world.query(tiny_plan())
    with closing(world.queries2.classify(query.s2, USER)) as waiting:
        next(waiting)
        with pytest.raises(AlreadyUsed, match="does not hold these items"):
            finish(world.queries1.classify(query.s1, USER))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_query_that_broke_off_has_burnt_its_item(world: World, number: int) -> None:
    """Lost on its way to S2, or after it: S1 cannot tell which, and S2 keeps nothing of it."""

    def lost(inner: Peer, message: pb.Round) -> pb.Round:
        if number:
            inner.ask(message)
        raise PeerUnavailable("cloud_s2 is gone")

    (held,) = ready(world)
    query = world.query(tiny_plan())
    world.wrap = lambda inner: At(inner, max(number - 1, 0), lost)
    with closing(world.queries2.classify(query.s2, USER)) as waiting:
        next(waiting)
        with pytest.raises(PeerUnavailable, match="is gone"):
            finish(world.queries1.classify(query.s1, USER))
    world.wrap = lambda peer: peer
    assert world.queries1.stock.count == world.shelves.count == 0
    assert world.budget2._taken == world.queries1._budget._taken == 0
    with pytest.raises(AlreadyUsed):
        held.item.spend()


def test_an_item_whose_query_s2_did_not_begin_serves_another(world: World) -> None:
    """The user never sent S2 its half: nothing of the item was opened, and no new one has to be made."""
    ready(world)
    operations = world.secret.operations
    for _ in range(3):
        with pytest.raises(PeerUnavailable, match="did not arrive"):
            finish(world.queries1.classify(world.query(tiny_plan()).s1, USER))
    assert world.queries1.stock.count == world.shelves.count == 1
    world.ask(world.query(tiny_plan()))
    assert world.secret.operations == operations


@pytest.mark.parametrize("change", [{"plan_hash": bytes(32)}, {"pictures": 17}, {"half": b"short"}])
def test_a_query_that_was_never_valid_takes_no_item(world: World, change: dict[str, object]) -> None:
    ready(world)
    query = world.query(tiny_plan())
    for half in (query.s1, query.s2):
        for field, value in change.items():
            setattr(half, field, value)
    for attempt in (
        lambda: finish(world.queries1.classify(query.s1, USER)),
        lambda: next(world.queries2.classify(query.s2, USER)),
    ):
        with pytest.raises(TwinveilError):
            attempt()
    assert world.queries1.stock.count == world.shelves.count == 1


def test_two_queries_never_have_one_item(world: World) -> None:
    """While one waits for its user's half, S2 has taken the item out of every other's reach."""
    (held,) = ready(world)
    record, found = world.models1.store.find("tiny", "1"), list[str]()

    def spend_too(*_: object) -> NoReturn:
        peer = MemoryPeer(world.conversations.open(S1))
        spend = pb.Spend(protocol_version=ROUNDS_VERSION, import_id=record.import_id, items=[held.item.name])
        try:
            peer.ask(pb.Round(spend=spend))
        except TwinveilError as error:
            found.append(type(error).__name__)
        raise PeerUnavailable("the half is not there")

    query = world.query(tiny_plan())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.queries2._pending, "claim", spend_too)
        with pytest.raises(PeerUnavailable):
            finish(world.queries1.classify(query.s1, USER))
    assert found == ["AlreadyUsed"]
    assert world.queries1.stock.count == world.shelves.count == 1


def test_items_die_with_their_conversation(world: World) -> None:
    """As when S2 begins anew, or the connection is lost: S1 has none ready, and makes others."""
    (held,) = ready(world)
    held.lane.wire.inner.close()  # type: ignore[attr-defined]
    assert world.queries1.stock.count == world.shelves.count == world.budget2._taken == 0
    world.ask(world.query(tiny_plan()))
    assert held.item.spend()  # was never handed to a query
    assert world.queries1._budget._taken == 0


@pytest.mark.parametrize("cloud", ["provision1", "provision2"])
def test_items_die_with_their_model(tmp_path: Path, cloud: str) -> None:
    """At the cloud that is told, and at S2 also where S1 is."""
    world = World(tmp_path)
    world.outsource(tiny_model())
    world.make_items(2)
    getattr(world, cloud).remove_model("tiny", "1", OWNER)
    assert world.shelves.count == world.budget2._taken == 0
    if cloud == "provision1":
        assert world.queries1.stock.count == world.queries1._budget._taken == 0


def test_a_session_id_names_one_conversation(world: World) -> None:
    (held,) = ready(world)
    openings = list[pb.Round]()

    def named(inner: Peer, message: pb.Round) -> pb.Round:
        message.open_items.session_id = held.item.name.session_id
        openings.append(message)
        return inner.ask(message)

    world.wrap = lambda inner: At(inner, 0, named)
    held.lane.busy = True  # another conversation is begun
    try:
        with pytest.raises(AlreadyUsed, match="has this session id"):
            world.make_items(2)
    finally:
        held.lane.busy, world.wrap = False, lambda peer: peer
    assert len(openings) == 1
    assert world.shelves.count == 1


def test_items_are_made_after_an_answer_only(world: World) -> None:
    """Else one that cannot be done would be tried again and again, at both clouds' expense."""
    ready(world)
    stock = world.queries1.stock
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock, "_keep", 2)
        with pytest.raises(PeerUnavailable, match="did not arrive"):
            finish(world.queries1.classify(world.query(tiny_plan()).s1, USER))
        assert not stock._makers
        assert stock.count == 1
        world.ask(world.query(tiny_plan()))
        assert wait_until(lambda: stock.count == 2 and not stock._makers)
    assert world.shelves.count == 2


@pytest.mark.parametrize("full", ["cloud_s1", "cloud_s2"])
def test_items_that_have_no_memory_are_not_made(tmp_path: Path, full: str) -> None:
    """What is there stays, and the conversation stands: it goes on when there is memory again."""
    world = World(tmp_path)
    world.outsource(tiny_model())
    (held,) = ready(world)
    budget = world.queries1._budget if full == "cloud_s1" else world.budget2
    with budget.take(MEMORY - budget._taken), pytest.raises(TooMuch, match=f"{full}'s memory"):
        world.make_items(2)
    assert world.queries1.stock.count == world.shelves.count == 1
    world.make_items(2)
    assert {each.lane for each in world.queries1.stock._ready} == {held.lane}


def secrets_of(world: World) -> dict[str, object]:
    (held,) = ready(world)
    pair, public = Pair(), world.public
    (shelf,) = world.shelves._shelves.values()
    circuits, _ = held.item._held or ((), {})
    return {
        "secret key": world.secret,
        "item, S1": held.item,
        "item, S2": kept(world),
        "maker": held.lane.maker,
        "shelf": shelf,
        "item's picture": circuits[0],
        "item's circuit": circuits[1],
        "garbler": pair.garbler,
        "garbling": pair.garbler._garbling,
        "evaluator": pair.evaluator,
        "transfers, S1": pair.s1,
        "transfers, S2": pair.s2,
        "base transfers": pair.sender,
        "link": Exchange(lambda message: message, pair.s1, iter(())),
        "circuits": Circuits(iter(()), pair.s2),
        "ciphertexts": Encryptor(public, Tally()).encrypt([1, 2]),
    }


NAMES = (
    *("secret key", "item, S1", "item, S2", "maker", "shelf", "item's picture", "item's circuit"),
    *("garbler", "garbling", "evaluator", "transfers, S1", "transfers, S2"),
    *("base transfers", "link", "circuits", "ciphertexts"),
)


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_neither_copied_nor_pickled_nor_printed(world: World, name: str) -> None:
    held = secrets_of(world)
    assert tuple(held) == NAMES
    secret = held[name]
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(secret)
    text = f"{secret!r} {secret!s}"
    assert len(text) < 200
    assert not any(len(word) > 8 and word.isdigit() for word in text.split())


def test_items_do_not_survive_a_fork(world: World) -> None:
    (held,) = ready(world)

    def spend() -> dict[str, bytes]:
        refused = {}
        for name, half in (("S1", held.item), ("S2", kept(world))):
            try:
                half.spend()
            except AlreadyUsed:
                refused[name] = b"yes"
        return refused

    assert in_forks(1, spend) == [{"S1": b"yes", "S2": b"yes"}]
    assert held.item.spend()


def run_until_killed(folder: Path, step: int) -> set[str]:
    """A life of both clouds, ended by kill -9 at S1's message `step`; what passed between them."""
    command = [sys.executable, "-m", "tests.security.life", str(folder), str(step)]
    there = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=there)
    assert ended.returncode == (-signal.SIGKILL if step >= 0 else 0), ended.stderr
    return set(ended.stdout.split())


def test_nothing_one_time_comes_again_after_a_crash(tmp_path: Path) -> None:
    """Killed before masks, labels or transfers are used; models stay, everything else is drawn anew."""
    lives = [run_until_killed(tmp_path, step) for step in (2, 4)] + [run_until_killed(tmp_path, -1)]
    assert all(len(life) > 10 for life in lives)
    seen: set[str] = set()
    for life in lives:
        assert not seen & life
        seen |= life
    assert all(a != b for a, b in pairwise(lives))


def test_a_query_leaves_nothing_on_disk(world: World) -> None:
    """No mask, label or transfer is ever written, so none can be read again."""
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
    ready(world)
    world.ask(world.query(tiny_plan()))
    assert {path: path.stat().st_mtime_ns for path in world.root.rglob("*")} == before


def test_an_import_that_comes_again_has_transfers_of_its_own(tmp_path: Path) -> None:
    """An owner may give a model that was removed its old id; S1 names the conversation, and anew."""
    world, openings = World(tmp_path), []

    def keep(inner: Peer, message: pb.Round) -> pb.Round:
        openings.append(message.open_import)
        return inner.ask(message)

    world.wrap = lambda inner: At(inner, 0, keep)
    for _ in range(2):
        world.outsource(tiny_model(), import_id=bytes(16))
        for cloud in (world.provision1, world.provision2):
            cloud.remove_model("tiny", "1", OWNER)
        world.start()
    first, second = openings
    assert first.import_id == second.import_id
    assert first.session_id != second.session_id
