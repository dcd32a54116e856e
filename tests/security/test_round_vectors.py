"""Every malformed Round, at every step of every conversation, in both directions, has its typed error.

S2 takes no secret-key operation for it; none at all for those that come before a query's first decryption.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.security.conftest import impatient
from tests.security.probe import Change, Outcome, Probe
from tests.security.round_vectors import Vector, vectors
from tests.security.world import OWNER, USER, World, finish, tiny_model, tiny_plan
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

CONVERSATIONS = ("import", "items", "packed", "label", "textbook")
"""label: only what comes after the class vector. textbook: each kind of message once, in one network."""

BOTH = ("packed", "textbook")
LABEL_STEP = 3
"""Number of the message that only a query for the label has."""
FIRST_DECRYPTION = {"import": 1, "items": 2, "packed": 1000, "textbook": 3}
"""Number of the first message whose ciphertexts S2 decrypts."""


TEXTBOOK = pytest.param("textbook", marks=pytest.mark.heavy)


class Trial:
    """One conversation with every malformed message tried in it."""

    def __init__(self, conversation: str, world: World) -> None:
        self.expected: dict[str, str] = {}
        self._seen: set[str] = set()
        self._world = world
        self._conversation = conversation
        self._probe = Probe(self._faults, lambda: world.secret.operations)

    def outcomes(self) -> dict[str, Outcome]:
        world, model = self._world, tiny_model()
        if self._conversation == "import":
            header = world.header(model.plan, "probed", BOTH)
            halves = world.halves(model, BOTH)
            waiting = world.provision2.outsource(header, iter([halves[1]]), OWNER)
            next(waiting)
            work = lambda: finish(world.provision1.outsource(header, iter([halves[0]]), OWNER))  # noqa: E731
        elif self._conversation == "items":
            waiting = iter(())  # type: ignore[assignment]
            work = lambda: world.make_items(2)  # noqa: E731
        else:
            world.make_items()
            engine = "textbook" if self._conversation == "textbook" else "packed"
            query = world.query(tiny_plan(), engine=engine, label_only=self._conversation == "label")
            waiting = world.queries2.classify(query.s2, USER)
            next(waiting)
            work = lambda: finish(world.queries1.classify(query.s1, USER))  # noqa: E731
        world.wrap = self._probe.over
        try:
            self._probe.run(work)
        finally:
            world.wrap = lambda peer: peer
        finish(waiting)
        return self._probe.outcomes

    def _faults(self, side: str, step: int, message: pb.Round) -> dict[str, Change]:
        body = str(message.WhichOneof("body"))
        if self._conversation == "label" and step < LABEL_STEP:
            return {}
        if self._conversation == "textbook" and body in self._seen:
            return {}
        self._seen.add(body)
        found: dict[str, Vector] = {
            f"{self._conversation}, {side} {step}, {body}: {name}": vector
            for name, vector in vectors(self._world.secret, body, message, first=step == 0)
            if not (side == "reply" and name == "no body")
        }
        self.expected |= {name: vector.error for name, vector in found.items()}
        return {name: vector.change for name, vector in found.items()}


@cache
def trial(conversation: str) -> tuple[dict[str, Outcome], dict[str, str]]:
    """In a process that has loaded little: what a fork costs is its parent's memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(tried, conversation).result()


def tried(conversation: str) -> tuple[dict[str, Outcome], dict[str, str]]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        world = World(Path(folder))
        world.outsource(tiny_model(), engines=BOTH)
        made = Trial(conversation, world)
        return made.outcomes(), made.expected


@pytest.mark.parametrize("conversation", [*CONVERSATIONS[:-1], TEXTBOOK])
def test_every_malformed_round_is_refused(conversation: str) -> None:
    outcomes, expected = trial(conversation)
    wrong = {
        name: f"{outcome.error} instead of {expected[name]}: {outcome.text}"
        for name, outcome in outcomes.items()
        if outcome.error != expected[name]
    }
    assert not wrong
    assert outcomes.keys() == expected.keys()


@pytest.mark.parametrize("conversation", ["import", "items", "packed", TEXTBOOK])
def test_no_secret_key_operation_for_them(conversation: str) -> None:
    outcomes, _ = trial(conversation)
    assert not {name for name, outcome in outcomes.items() if outcome.operations}
    early = [name for name in outcomes if _request_number(name) <= FIRST_DECRYPTION[conversation]]
    assert {outcomes[name].before for name in early} == {0}


def _request_number(name: str) -> int:
    """Of "packed, request 3, masked_plaintexts: ..."; large for a reply."""
    side, number = name.split(", ")[1].split()
    return int(number) if side == "request" else 1000


def test_there_are_enough_of_them() -> None:
    outcomes = [trial(conversation)[0] for conversation in CONVERSATIONS[:-1]]
    assert sum(len(each) for each in outcomes) >= 1000
