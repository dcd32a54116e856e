"""Weights, keys, pixels and shares never come into logs, errors or reprs; checks hold without assert."""

from __future__ import annotations

import ast
import errno
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NoReturn, cast

import grpc
import pytest

from tests.security import faults
from tests.security.canaries import PIXELS, WEIGHTS, holds, long_enough, of_key, spellings, with_canaries
from tests.security.peers import At
from tests.security.stand_ins import Caller
from tests.security.world import OWNER, USER, World, finish, tiny_model, tiny_plan
from twinveil.errors import HostFault, TwinveilError
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb
from twinveil.transport.status import boundary
from twinveil.wording import HOST_FAULTS, sanitised

pytestmark = pytest.mark.slow

ITEM_STEPS, STEPS = 3, 6
"""S1's messages of an item, and with those of the query that spends it."""
MODEL = with_canaries(tiny_model())
REPOSITORY = Path(__file__).parents[2]


def canaries(world: World) -> set[str]:
    """Everything that must not be found, as text."""
    found = {text for each in (PIXELS, WEIGHTS) for text in spellings(each)}
    found |= set(of_key(world.secret))
    record = world.models1.store.find("tiny", "1")
    for model in (
        world.models1.load(record, world.public).for_packed,
        world.models2.load(record.import_id)[1].for_packed,
    ):
        for share in (*model.kernels.values(), *model.biases.values()):
            found |= set(spellings(share))
    return long_enough(found)


class Log(logging.Handler):
    """All that is logged by anybody, at every level, with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Log]:
    handler, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


class Ending(Caller):
    """A gRPC context that keeps what the caller is told."""

    def __init__(self) -> None:
        self.told = ""

    def set_trailing_metadata(self, metadata: object) -> None:
        self.told += repr(metadata)

    def abort(self, code: object, text: str) -> NoReturn:
        self.told += f" {code} {text}"
        raise RuntimeError(text)


def attempts(world: World) -> Iterator[str]:
    """Error texts, and tracebacks of a side that logs them, of items and queries that go wrong anywhere."""
    key = world.secret
    changes = [change for _, change in (*faults.ciphertexts(key), *faults.points(), *faults.sizes(16))][::14]
    for number in range(STEPS):
        for change in changes:
            while world.queries1.stock.give_way():
                """Every item is the first of its conversation."""
            world.wrap = lambda peer: peer
            if number >= ITEM_STEPS:
                world.make_items()
            world.wrap = _bending(number % ITEM_STEPS, change)
            query = world.query(tiny_plan(), PIXELS)
            waiting = world.queries2.classify(query.s2, USER)
            next(waiting)
            # S2 hears of a user's query after its items are made.
            works: list[Generator[object, None, object]] = [world.queries1.classify(query.s1, USER)]
            works += [waiting] if number > ITEM_STEPS else []
            for work in works:
                ending = Ending()
                try:
                    with boundary(cast("grpc.ServicerContext", ending)):
                        finish(work)
                except Exception as error:
                    yield f"{ending.told} {error!r} {''.join(traceback.format_exception(error))}"
                    yield f"{sanitised(error)!r} {error.__cause__!r} {error.__context__!r}"
            waiting.close()
    world.wrap = lambda peer: peer


def _bending(number: int, change: faults.Change) -> Callable[[Peer], Peer]:
    return lambda inner: At(inner, number, lambda peer, sent: _bent(peer, sent, change))


def _bent(peer: Peer, message: pb.Round, change: faults.Change) -> pb.Round:
    part = getattr(message, str(message.WhichOneof("body")))
    for field, value in part.ListFields():
        if isinstance(value, bytes):
            setattr(part, field.name, change(value))
    return peer.ask(message)


def test_no_canary_in_logs_and_errors(tmp_path: Path, log: Log) -> None:
    world = World(tmp_path)
    world.outsource(MODEL)
    world.classify(MODEL, PIXELS)
    texts = list(attempts(world))
    logging.getLogger("cloud_s1").debug("the end of %r, %r", world, world.models1.store.records())
    held = world.models1.load(world.models1.store.find("tiny", "1"), world.public)
    texts += log.texts + [repr(each) for each in (world.secret, world.public, held, world.models2, OWNER)]
    assert len(texts) > 40
    wanted = canaries(world)
    assert not {text for each in texts for text in holds(each, wanted)}


def test_the_search_finds_a_canary(tmp_path: Path, log: Log) -> None:
    world = World(tmp_path)
    world.outsource(MODEL)
    key = world.secret
    leaks = [f"pixels {PIXELS.tolist()}", f"key {key.to_jwk()}", f"p = {key._p}", str(WEIGHTS)]
    for leak in leaks:
        logging.getLogger("cloud_s2").debug(leak)
        assert holds(log.texts[-1], canaries(world)), leak


def test_no_check_rests_on_assert() -> None:
    for package in ("twinveil", "cloud_s1", "cloud_s2", "owner", "user"):
        for path in (REPOSITORY / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), path


@pytest.mark.heavy
def test_vectors_hold_without_assert() -> None:
    """python -O takes every assert of the library away; pytest keeps those of the tests."""
    tests = [f"tests/security/test_{name}.py" for name in ("client_vectors", "garbling_keys")]
    command = [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]


def test_errors_carry_no_bytes() -> None:
    """What the other side is told is one printable line, whatever an error says."""
    told = str(sanitised(TwinveilError("a\nb\x00c" + "x" * 5000)))
    assert told.isprintable()
    assert len(told) <= 500
    assert str(sanitised(ValueError("secret 12345"))) == "internal error, see the log"


@pytest.mark.parametrize("number", sorted(HOST_FAULTS))
def test_the_fault_of_a_machine_is_told_without_its_path(number: int) -> None:
    told = sanitised(OSError(number, os.strerror(number), "/home/alice/model"), "cloud_s1")
    assert isinstance(told, HostFault)
    assert re.fullmatch(r"cloud_s1 cannot go on: [^/]+; tell its operator, then try again", str(told))


def test_other_errors_of_the_system_are_internal() -> None:
    assert str(sanitised(ConnectionResetError(errno.ECONNRESET, "reset"))) == "internal error, see the log"
