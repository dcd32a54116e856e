"""What serves once serves once: in one process, across forks, and across a crash."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.textbook.engine import Circuits, Exchange

from cloud_s1.queries import QueriesS1
from tests.crypto.crypto_keys import secret_key
from tests.security.draws import draw_all
from tests.security.peers import At
from tests.security.world import OWNER, S1, USER, World, finish, tiny_model, tiny_plan
from tests.system.town import wait_until
from twinveil.cloud.requests import read_query
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.tally import Tally
from twinveil.errors import AlreadyUsed, OutOfOrder, PeerUnavailable
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.textbook.circuits import label
from twinveil.protocol.textbook.garbled import EvaluatorSide, GarblerSide
from twinveil.protocol.textbook.query.s1 import QueryS1
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

WORKERS = 16


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


def prepared(world: World, watch: Callable[[object], None] = lambda engine: None) -> QueryS1:
    record = world.models1.store.find("tiny", "1")
    model = world.models1.load(record, world.public)
    peer = MemoryPeer(world.conversations.open(S1))
    tools = world.queries1._cloud_s2.tools(Workers())
    return query_s1(model, record.import_id, "packed", tools, peer, watch=watch)


def test_a_prepared_query_serves_once(world: World) -> None:
    query, user = prepared(world), world.query(tiny_plan())
    query.prepare()
    with pytest.raises(OutOfOrder):
        query.prepare()
    waiting = world.queries2.classify(user.s2, USER)
    next(waiting)
    record = world.models1.store.find("tiny", "1")
    head, half = read_query(user.s1, USER, record, world.params, world.public.n)
    finish(query.classify(head, half))
    with pytest.raises(OutOfOrder, match="serves once"):
        finish(query.classify(head, half))


def test_a_query_that_broke_off_serves_never_again(world: World) -> None:
    query, user = prepared(world), world.query(tiny_plan())
    query.prepare()
    record = world.models1.store.find("tiny", "1")
    head, half = read_query(user.s1, USER, record, world.params, world.public.n)
    with pytest.raises(Exception, match="did not arrive"):
        finish(query.classify(head, half))
    with pytest.raises(OutOfOrder, match="serves once"):
        finish(query.classify(head, half))


def test_a_prepared_query_keeps_no_model_in_memory(world: World) -> None:
    """Its ciphertexts and their tables have more bytes than all else together."""
    query, record = prepared(world), world.models1.store.find("tiny", "1")
    query.prepare()
    model = weakref.ref(world.models1.load(record, world.public))
    world.models1.loaded.forget(record.import_id)
    gc.collect()
    assert model() is None
    assert query.prepared


def test_the_next_query_is_prepared_after_an_answer_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that cannot be done would be prepared again and again, at both clouds' expense."""
    opened: list[Peer] = []

    def wrap(peer: Peer) -> Peer:
        opened.append(peer)
        return peer

    monkeypatch.setattr(world, "wrap", wrap)
    ahead = QueriesS1(world.models1, world.queries1._cloud_s2, INLINE, ahead=1)
    monkeypatch.setattr(world, "queries1", ahead)
    user = world.query(tiny_plan())
    with pytest.raises(PeerUnavailable, match="did not arrive"):
        finish(ahead.classify(user.s1, USER))
    left = ahead.classify(world.query(tiny_plan()).s1, USER)
    next(left)
    left.close()
    time.sleep(0.1)
    assert len(opened) == 2
    world.ask(world.query(tiny_plan()))
    assert wait_until(lambda: len(opened) == 4)


def secrets_of(world: World) -> dict[str, object]:
    engines: list[object] = []
    query = prepared(world, engines.append)
    pair = Pair()
    public = world.public
    return {
        "secret key": world.secret,
        "query": query,
        "engine": engines[0],
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
    *("secret key", "query", "engine", "garbler", "garbling", "evaluator", "transfers, S1", "transfers, S2"),
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


def in_forks(count: int, task: Callable[[], dict[str, bytes]]) -> list[dict[str, bytes]]:
    """The task's results in `count` forks of this process, taken one after the other from one state."""
    results = []
    for _ in range(count):
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                told = json.dumps({kind: data.hex() for kind, data in task().items()}).encode()
                os.write(there, told)
            finally:
                os._exit(0)
        os.close(there)
        with os.fdopen(here, "rb") as pipe:
            results.append({kind: bytes.fromhex(data) for kind, data in json.loads(pipe.read()).items()})
        os.waitpid(child, 0)
    return results


def pieces(results: list[dict[str, bytes]], kind: str, size: int = 16) -> list[bytes]:
    return [
        result[kind][at : at + size]
        for result in results
        for at in range(0, len(result[kind]) - size + 1, size)
    ]


def distinct(results: list[dict[str, bytes]]) -> None:
    for kind in results[0]:
        if kind in ("slot masks", "short nonces", "full nonces", "published nonces", "blindings"):
            assert len({result[kind] for result in results}) == len(results), kind
        else:
            drawn = pieces(results, kind)
            assert len(set(drawn)) == len(drawn) >= len(results), kind


def test_forked_workers_draw_disjoint_values() -> None:
    key = secret_key().public_key
    draw_all(key)
    results = in_forks(WORKERS, lambda: draw_all(key))
    distinct([*results, draw_all(key)])


def test_the_check_sees_a_generator_that_was_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    monkeypatch.setattr(os, "urandom", lambda count: generator.bytes(count))
    key = secret_key().public_key
    with pytest.raises(AssertionError):
        distinct(in_forks(3, lambda: draw_all(key)))


@pytest.mark.heavy
def test_spawned_workers_draw_disjoint_values() -> None:
    with Workers.processes(WORKERS) as workers:
        results = workers.map(draw_all, [secret_key().public_key] * WORKERS)
    distinct(results)


def run_until_killed(folder: Path, step: int) -> set[str]:
    """A life of both clouds, ended by kill -9 at S1's message `step`; what passed between them."""
    command = [sys.executable, "-m", "tests.security.life", str(folder), str(step)]
    there = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=there)
    assert ended.returncode == (-signal.SIGKILL if step >= 0 else 0), ended.stderr
    return set(ended.stdout.split())


def test_nothing_one_time_comes_again_after_a_crash(tmp_path: Path) -> None:
    """Killed before masks, labels or transfers are used; models stay, everything else is drawn anew."""
    lives = [run_until_killed(tmp_path, step) for step in (2, 5)] + [run_until_killed(tmp_path, -1)]
    assert all(len(life) > 10 for life in lives)
    seen: set[str] = set()
    for life in lives:
        assert not seen & life
        seen |= life
    assert all(a != b for a, b in pairwise(lives))


def test_a_query_leaves_nothing_on_disk(world: World) -> None:
    """No mask, label or transfer is ever written, so none can be read again."""
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
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
