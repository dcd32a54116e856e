"""Whole conversations as fuzzing targets: every step, both ways, each input in a forked copy of both clouds.

    S1  --ask-->  Forking  --honest, or mutated in a fork-->  S2
        <-------           <--honest, or mutated in a fork--

A whole conversation costs hundreds of milliseconds, a fork of it a few. What a fork takes goes on to its end,
honestly, as if nothing had been mutated; so does the honest conversation, for the next step's inputs.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import secrets
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, closing, nullcontext, suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.fuzz import mutate
from tests.security.ends import CRASH, End, attempt
from tests.security.peers import Between
from tests.security.stand_ins import called
from tests.security.world import OWNER, USER, World, Wrap, finish, tiny_model, tiny_plan
from twinveil.errors import UnknownModel
from twinveil.halves import answers
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.provision_pb2 import RemoveModelRequest
from twinveil.services.provision import ProvisionServicer

BATCH = 2000
"""Inputs for one honest conversation of each kind."""
WHOLE = 100
"""Every so manieth input is done in this process, from the beginning: what leaked would pile up here."""
LIMIT = 60
"""Seconds after which a fork is killed."""

Drive = Callable[[Wrap], None]
"""One conversation, whose Peer is wrapped."""
Input = tuple[int, random.Random]


class Place(NamedTuple):
    """Where a message is mutated: in which kind of conversation, its number there, request or reply."""

    kind: str
    step: int
    side: str


class Conversations:
    """A fuzzing target with many inputs for one conversation.

    folder: where conversations write, by relative paths: each fork gets a copy of its own.
    """

    def __init__(self, kinds: Mapping[str, Drive], folder: Path | None = None) -> None:
        self._kinds, self._folder = kinds, folder
        self.places = [
            Place(kind, step, side)
            for kind, drive in kinds.items()
            for step in range(self._steps(drive))
            for side in ("request", "reply")
        ]

    def __call__(self, source: random.Random) -> None:
        """One input, in this process."""
        place = source.choice(self.places)
        with self._at_home():
            self._kinds[place.kind](lambda inner: Bent(inner, place, source))

    def ends(self, inputs: Iterable[Input]) -> Iterator[tuple[int, End]]:
        """Each input's number and end; a crash does not end the others."""
        rest = iter(inputs)
        while batch := list(islice(rest, BATCH)):
            at: dict[str, dict[Place, list[Input]]] = defaultdict(lambda: defaultdict(list))
            for index, source in batch:
                if index % WHOLE == 0:
                    yield index, attempt(partial(self, source))
                    continue
                place = source.choice(self.places)
                at[place.kind][place].append((index, source))
            for kind, inputs_there in at.items():
                with self._at_home():
                    found = _explore(self._kinds[kind], kind, inputs_there, self._folder is not None)
                yield from found

    def _steps(self, drive: Drive) -> int:
        seen: list[Counting] = []
        with self._at_home():
            drive(lambda inner: seen.append(Counting(inner)) or seen[-1])  # type: ignore[func-returns-value]
        return seen[0].count

    def _at_home(self) -> AbstractContextManager[None]:
        return nullcontext() if self._folder is None else chdir(self._folder)


class Counting(Between):
    """Counts the messages."""

    count = 0

    def ask(self, message: pb.Round) -> pb.Round:
        self.count += 1
        return self.inner.ask(message)


class Bent(Between):
    """One message or one reply of the conversation is mutated on its way."""

    def __init__(self, inner: Peer, place: Place, source: random.Random) -> None:
        super().__init__(inner)
        self._place, self._source, self._step = place, source, 0

    def ask(self, message: pb.Round) -> pb.Round:
        here, self._step = self._step == self._place.step, self._step + 1
        if here and self._place.side == "request":
            return self.inner.ask(mutate.of_message(message, self._source))
        reply = self.inner.ask(message)
        return mutate.of_message(reply, self._source) if here else reply


class Forking(Between):
    """Forks for every input whose place has come; only in the fork is the message mutated."""

    def __init__(self, inner: Peer, kind: str, inputs: Mapping[Place, list[Input]], copies: bool) -> None:
        super().__init__(inner)
        self._kind, self._inputs, self._copies, self._step = kind, inputs, copies, 0
        self.found: list[tuple[int, End]] = []
        self._pipe: int | None = None
        self._began = 0

    @property
    def is_fork(self) -> bool:
        return self._pipe is not None

    def ask(self, message: pb.Round) -> pb.Round:
        source = self._forked("request")
        if source is not None:
            return self.inner.ask(mutate.of_message(message, source))
        reply = self.inner.ask(message)
        source = self._forked("reply")
        if source is not None:
            return mutate.of_message(reply, source)
        self._step += 1
        return reply

    def tell(self, end: End) -> NoReturn:
        """In a fork: says how its input ended, and ends the process."""
        grown = _peak() - self._began
        with os.fdopen(self._pipe or 0, "wb") as pipe:
            pipe.write(json.dumps(asdict(replace(end, growth=grown))).encode())
        os._exit(0)

    def _forked(self, side: str) -> random.Random | None:
        """In a new process its input's generator; None here, when every input of this place has ended."""
        if self.is_fork:
            return None
        for index, source in self._inputs.get(Place(self._kind, self._step, side), ()):
            started = time.monotonic()
            here, there = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(LIMIT)
                os.close(here)
                self._pipe, self._began = there, _peak()
                # Nonces serve only the process that drew them, which this one stands for.
                os.getpid = os.getppid
                if self._copies:
                    shutil.copytree(".", "fork")
                    os.chdir("fork")
                return source
            os.close(there)
            end = _told(here, child)
            self.found.append((index, replace(end, seconds=time.monotonic() - started)))
            if self._copies:
                shutil.rmtree("fork", ignore_errors=True)
        return None


def _told(pipe: int, child: int) -> End:
    with os.fdopen(pipe, "rb") as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    if told and status == 0:
        return End(**json.loads(told))
    what = f"died of {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else "left early"
    return End(CRASH, f"a fork {what}", what)


def _explore(
    drive: Drive, kind: str, inputs: Mapping[Place, list[Input]], copies: bool
) -> list[tuple[int, End]]:
    """The ends of all inputs for one honest conversation."""
    peers: list[Forking] = []

    def wrap(inner: Peer) -> Peer:
        peers.append(Forking(inner, kind, inputs, copies))
        return peers[-1]

    gc.collect()
    gc.freeze()  # a collection in a fork would otherwise copy every page of the heap
    try:
        end = attempt(lambda: drive(wrap))
    except BaseException:
        if any(peer.is_fork for peer in peers):
            os._exit(1)
        raise
    finally:
        gc.unfreeze()
    if peers[0].is_fork:
        peers[0].tell(end)
    if end.kind != "accepted":
        raise RuntimeError(f"the honest conversation ended with {end.kind}: {end.text}")
    return peers[0].found


def _peak() -> int:
    """Bytes of resident memory; a fork begins with what it has, not with its parent's peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def conversations(folder: Path, world: World) -> Iterator[tuple[str, Conversations]]:
    """Items, all kinds of queries, and imports."""
    yield "items", Conversations({"items": partial(_items, world)})
    kinds = [(engine, label_only) for engine in ("packed", "textbook") for label_only in (False, True)]
    yield "queries", Conversations({f"{e}{' label' * o}": partial(_query, world, e, o) for e, o in kinds})
    own = folder / "imports"
    own.mkdir()
    with chdir(own):
        empty = World(Path("clouds"))
    yield "imports", Conversations({"import": partial(_import, empty)}, own)


def _items(world: World, wrap: Wrap) -> None:
    """Two, in a conversation of their own."""
    while world.queries1.stock.give_way():
        """What lies ready is not asked for again."""
    world.wrap = wrap
    try:
        world.make_items(2)
    finally:
        world.wrap = lambda peer: peer


def _query(world: World, engine: str, label_only: bool, wrap: Wrap) -> None:
    """Both calls of a user, and what it makes of the answer. Its item was made before."""
    plan = tiny_plan()
    if engine == "packed":
        world.make_items()
    query = world.query(plan, engine=engine, label_only=label_only)
    world.wrap = wrap
    try:
        with closing(world.queries2.classify(query.s2, USER)) as waiting:
            next(waiting)
            half = finish(world.queries1.classify(query.s1, USER)).half
            join = answers.labels if label_only else answers.class_vectors
            join(half, finish(waiting).half, plan, 1)
    finally:
        world.wrap = lambda peer: peer


def _import(world: World, wrap: Wrap) -> None:
    """Both calls of an owner; the model is removed again."""
    header = world.header(tiny_plan(), f"m{secrets.token_hex(8)}", ("packed", "textbook"))
    halves = world.halves(tiny_model(), ("packed", "textbook"))
    world.wrap = wrap
    try:
        with closing(world.provision2.outsource(header, iter([halves[1]]), OWNER)) as waiting:
            next(waiting)
            finish(world.provision1.outsource(header, iter([halves[0]]), OWNER))
            finish(waiting)
    finally:
        world.wrap = lambda peer: peer
        gone = RemoveModelRequest(model=header.model, version=header.version)
        for handler in (world.provision1, world.provision2):
            with suppress(UnknownModel):
                ProvisionServicer(handler).RemoveModel(gone, called(OWNER))
