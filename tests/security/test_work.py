"""The same work whatever is decrypted: every call, every gate, every big-integer operation of both clouds.

This is what "timing class" means here: which functions run and how often, how many gates and operations, is
fixed by the plan. Nothing is timed.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

import twinveil
from tests.networks import random_image
from tests.security.crafted import CRAFTED, crafted_model, crafted_query
from tests.security.world import OWNER, USER, Query, World, finish, tiny_model, tiny_plan
from twinveil.cloud import store
from twinveil.garbling.products import PixelsHeld
from twinveil.halves.ring import picture_bytes
from twinveil.ring import Words, modulo

pytestmark = pytest.mark.slow

ROOT = Path(twinveil.__file__).parents[1]
OURS = tuple(f"{ROOT / package}/" for package in ("twinveil", "cloud_s1", "cloud_s2"))
GATES = ("Garbler._next_tables", "Evaluator._next_tables")
"""Where room is taken for `count` gates that are made, and where their tables are read."""
BOTH = ("packed", "textbook")

Work = Mapping[tuple[str, str], int]
"""How often: (file, function), also of functions in C that a file calls; and how many gates, operations."""


def work_of(conversation: Callable[[], Iterator[tuple[str, str, int]]]) -> Work:
    """Calls and gates while `conversation` runs, and the further counts that it gives."""
    seen: Counter[tuple[str, str]] = Counter()

    def look(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(OURS):
            return
        if event == "call":
            seen[code.co_filename, code.co_qualname] += 1
            if code.co_qualname in GATES:
                seen["gates", code.co_qualname] += frame.f_locals["count"]
        elif event == "c_call":
            seen[code.co_filename, getattr(argument, "__qualname__", repr(argument))] += 1

    gc.disable()  # what it collects are other tests' conversations, which then end
    sys.setprofile(look)
    try:
        further = list(conversation())
    finally:
        sys.setprofile(None)
        gc.enable()
    seen.update({(what, kind): count for what, kind, count in further})
    return seen


def query(world: World, asked: Query) -> Work:
    """An item, if it takes one, was made before."""
    if asked.s1.engine == "packed":
        world.make_items(1, asked.s1.model)

    def ask() -> Iterator[tuple[str, str, int]]:
        waiting = world.queries2.classify(asked.s2, USER)
        next(waiting)
        answers = finish(world.queries1.classify(asked.s1, USER)), finish(waiting)
        for cloud, answer in zip(("cloud_s1", "cloud_s2"), answers, strict=True):
            for function, figures in json.loads(answer.figures_json).items():
                for kind, count in figures["operations"].items():
                    yield f"{cloud}, {function}", kind, count

    return work_of(ask)


def item(world: World, name: str) -> Work:
    """The next of a conversation that stands."""
    world.make_items(1, name)

    def make() -> Iterator[tuple[str, str, int]]:
        before = world.secret.tally.as_dict()
        world.make_items(2, name)
        for kind, count in world.secret.tally.as_dict().items():
            yield "cloud_s2", kind, count - before.get(kind, 0)

    made = work_of(make)
    while world.queries1.stock.give_way():
        """Nothing is left to the next."""
    return made


def outsourcing(world: World, halves: tuple[bytes, bytes]) -> Work:
    header = world.header(tiny_plan(), "again", BOTH)

    def send() -> Iterator[tuple[str, str, int]]:
        before = world.secret.tally.as_dict()
        waiting = world.provision2.outsource(header, iter([halves[1]]), OWNER)
        next(waiting)
        finish(world.provision1.outsource(header, iter([halves[0]]), OWNER))
        finish(waiting)
        for kind, count in world.secret.tally.as_dict().items():
            yield "cloud_s2", kind, count - before.get(kind, 0)

    made = work_of(send)
    for provision in (world.provision1, world.provision2):
        provision.remove_model("again", "1", OWNER)
    return made


MODELS: dict[str, int | None] = {"zero": 0, "low": -128, "high": 127}
"""Named by their weights; the fourth, "crafted", comes from halves that do not belong together."""

PICTURES = {
    "black": np.zeros(tiny_plan().image_shape, np.uint8),
    "white": np.full(tiny_plan().image_shape, 255, np.uint8),
    "any": random_image(tiny_plan(), 1),
}


@pytest.fixture(scope="module", autouse=True)
def every_record_is_read() -> Iterator[None]:
    """Whether a store has kept a record depends on the age of its file, and on nothing of anybody's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SETTLED_NS", 1 << 62)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    crafted = crafted_halves("inconsistent", made)
    made.outsource(tiny_model(), crafted, name="crafted", engines=BOTH)
    for name, fill in MODELS.items():
        made.outsource(tiny_model(fill), name=name, engines=BOTH)
    # What is made at a first use, and kept.
    for name in (*MODELS, "crafted"):
        for engine in BOTH:
            made.ask(made.query(tiny_plan(), name=name, engine=engine))
    return made


def crafted_halves(kind: str, world: World) -> tuple[bytes, bytes]:
    """Of a model for both engines."""
    pairs = [crafted_model(kind, world, tiny_plan(), engine) for engine in BOTH]
    return b"".join(first for first, _ in pairs), b"".join(second for _, second in pairs)


def test_the_work_of_an_item(world: World) -> None:
    same({(name, "item"): item(world, name) for name in (*MODELS, "crafted")})


@pytest.mark.parametrize("label_only", [False, True])
def test_the_work_of_a_query(world: World, label_only: bool) -> None:
    asked = {
        (name, what): world.query(tiny_plan(), PICTURES[what], None, name, "packed", label_only)
        for name, what in (("zero", "black"), ("low", "any"), ("high", "white"), ("crafted", "any"))
    }
    for byte in (0, 255):
        half = bytes([byte]) * picture_bytes(tiny_plan())
        asked["high", str(byte)] = world.query(tiny_plan(), None, (half, half), "high", "packed", label_only)
    same({name: query(world, each) for name, each in asked.items()})


@pytest.mark.parametrize("label_only", [False, True])
@pytest.mark.parametrize(
    "kinds", [CRAFTED[:2], pytest.param(CRAFTED[2:], marks=pytest.mark.heavy)], ids=["some", "others"]
)
def test_the_work_of_a_textbook_query(world: World, kinds: Sequence[str], label_only: bool) -> None:
    plan = tiny_plan()
    asked = {
        (name, what): world.query(plan, PICTURES[what], None, name, "textbook", label_only)
        for name, what in (("zero", "black"), ("low", "any"), ("high", "white"), ("crafted", "any"))
    }
    for kind in kinds:
        halves = crafted_query(kind, world, plan)
        asked["high", kind] = world.query(plan, None, halves, "high", "textbook", label_only)
    same({name: query(world, each) for name, each in asked.items()})


@pytest.mark.parametrize(
    "kinds", [CRAFTED[:3], pytest.param(CRAFTED[3:], marks=pytest.mark.heavy)], ids=["some", "others"]
)
def test_the_work_of_an_import(world: World, kinds: Sequence[str]) -> None:
    halves = {("honest", name): world.halves(tiny_model(fill), BOTH) for name, fill in MODELS.items()}
    halves |= {("crafted", kind): crafted_halves(kind, world) for kind in kinds}
    same({name: outsourcing(world, each) for name, each in halves.items()})


def same(found: Mapping[tuple[str, str], Work]) -> None:
    (name, first), *others = found.items()
    assert sum(first.values()) > 1_000
    assert any(what == "gates" and count for (what, _), count in first.items())
    assert any(what.startswith("cloud_s2") and count for (what, _), count in first.items())
    for other, work in others:
        differs = {key for key in first.keys() | work.keys() if first.get(key) != work.get(key)}
        assert not differs, (name, other, differs)


def test_work_that_depends_on_content_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An S2 that does something more where all it got is 0, and an S1 that does not mask what it gets."""
    honest = PixelsHeld.open

    def opened(half: PixelsHeld, answer: bytes) -> dict[str, Words]:
        found = honest(half, answer)
        return {name: each if each.any() else half_again(each) for name, each in found.items()}

    monkeypatch.setattr(PixelsHeld, "open", opened)
    monkeypatch.setattr("twinveil.garbling.products.uniform", lambda shape, bits: np.zeros(shape, np.uint64))
    found = {
        ("high", what): query(world, world.query(tiny_plan(), picture, name="high"))
        for what, picture in PICTURES.items()
    }
    with pytest.raises(AssertionError, match="black"):
        same(found)


def half_again(words: Words) -> Words:
    return modulo(words, 63)
