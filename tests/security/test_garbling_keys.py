"""Over a whole query no (key, tweak) of the garbling hash repeats, and no key serves more than a block; every
batch has a fresh start point."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.garbling.garbled import session
from tests.networks import small_icnn_model
from tests.security.peers import Watching
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.garbling import ahead, evaluator, garbler, hashing, ot_extension, portable
from twinveil.garbling.circuit import START_POINT_BYTES
from twinveil.garbling.products import HeldBits, multiply
from twinveil.network.schedule import schedule
from twinveil.protocol.packed.stages import stage_parts

BLOCK = 8
CHUNK = 3 * BLOCK
"""Instances under one key, and labels in one chunk, so that the small network here takes several."""

Used = Counter[tuple[bytes, int]]


class Calls:
    """Every use of the hash: (AES key, tweak), of garblers, evaluators and transfers.

    Seen where AES is called, so that what counts is which key really meets which tweak.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.garblers: Used = Counter()
        self.evaluators: Used = Counter()
        self.transfers: Used = Counter()
        self.start_points: list[bytes] = []
        patch.setattr(hashing, "BLOCK", BLOCK)
        patch.setattr(hashing, "CHUNK", CHUNK)
        patch.setattr(portable, "CHUNK", CHUNK)
        now: tuple[Used, hashing.Words, int, int]
        aes, calls = hashing.aes, self

        def recorded(key: bytes) -> hashing.Encrypt:
            encrypt = aes(key)

            def call(plain: memoryview, out: memoryview) -> object:
                used, labels, start, base = now
                first = (address(plain) - base) // 16 - start
                second = np.frombuffer(plain, np.uint64).reshape(-1, 2)[:, 1]
                tweaks = second ^ labels[first : first + len(second), 0]
                used.update((key, tweak) for tweak in tweaks.tolist())
                return encrypt(plain, out)

            return call

        def watching(used: Used) -> type[portable.Portable]:
            class Hash(hashing.Hash):
                def _chunk(self, first: int, half: int, labels: hashing.Words) -> hashing.Words:
                    nonlocal now
                    now = used, labels, first % BLOCK, address(self._plain.data)
                    return super()._chunk(first, half, labels)

            class Watched(portable.Portable):
                def __init__(self, start_point: bytes) -> None:
                    super().__init__(start_point)
                    self._hash = Hash(self._hash.keys)

            return Watched

        class Garbler(garbler.Garbler):
            def __init__(self, start_point: bytes, tables: np.ndarray) -> None:
                calls.start_points.append(start_point)
                super().__init__(start_point, tables)

        patch.setattr(hashing, "aes", recorded)
        patch.setattr(garbler, "Garbler", Garbler)
        patch.setattr(ahead, "Garbler", Garbler)
        patch.setattr(garbler, "primitives", watching(self.garblers))
        for module in (ahead, evaluator):
            patch.setattr(module, "primitives", watching(self.evaluators))
        patch.setattr(ot_extension, "primitives", watching(self.transfers))

    def check(self) -> None:
        """Two uses of a (key, tweak) at S1, of both labels of one wire, and one of them at S2's; of a
        transfer three: S2's own pad, and both of S1's under secrets that differ."""
        assert set(self.garblers.values()) == {2}
        assert set(self.evaluators.values()) == {1}
        assert set(self.evaluators) <= set(self.garblers)  # an item may be left that was made ahead
        assert set(self.transfers.values()) == {3}
        assert not {key for key, _ in self.garblers} & {key for key, _ in self.transfers}
        assert largest_share(self.garblers) == 2 * BLOCK
        assert largest_share(self.transfers) == BLOCK
        assert len(set(self.start_points)) == len(self.start_points)


def address(buffer: memoryview) -> int:
    return int(np.asarray(buffer).__array_interface__["data"][0])


def largest_share(used: Used) -> int:
    """Most tweaks under one key."""
    return max(Counter(key for key, _ in used).values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.outsource(tiny_model(), engines=("packed", "textbook"))
    return made


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_no_key_and_tweak_twice(world: World, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    calls, watched = Calls(monkeypatch), list[Watching]()
    world.wrap = lambda inner: watched.append(Watching(inner)) or watched[-1]  # type: ignore[func-returns-value]
    for label_only in (False, True):
        world.ask(world.query(tiny_plan(), engine=engine, label_only=label_only))
    calls.check()
    assert len(calls.garblers) > 1000
    assert len(calls.start_points) >= 4
    tables = [
        tables
        for peer in watched
        for each in peer.requests
        for tables in (
            [circuit.tables for circuit in each.item_offer.circuits if circuit.tables]
            + [each.garbled_batch.tables] * each.HasField("garbled_batch")
        )
    ]
    sent = [each[:START_POINT_BYTES] for each in tables]
    assert len(sent) >= 4
    assert len(set(sent)) == len(sent)
    assert set(sent) <= set(calls.start_points)


def both_phases(pictures: int) -> None:
    """Items of a small ICNN from transfers to outputs, products of bits among them, in one session."""
    made = [part.circuit for part in stage_parts(schedule(small_icnn_model(0).plan))]
    count = pictures * (sum(each.transfers for each in made) + 2 * 50)
    receiver, sender = session(count)
    for _ in range(pictures):
        halves = []
        for each in made:
            garbling = each.garble(sender)
            halves.append((garbling, each.hold(garbling.offer(), receiver)))
            if len(halves) < 3:
                held = HeldBits(receiver, np.ones(50, np.bool_), 20)
                held.open(multiply(sender, np.ones(50, np.bool_), held.corrections, 20)[0])
        for garbling, holding in halves:
            holding.open(garbling.answer(holding.drawn))
    assert not receiver.available


def test_no_key_and_tweak_twice_over_both_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    both_phases(2)
    calls.check()
    assert len(calls.start_points) >= 2 * 8


def test_outputs_that_take_the_gates_instances_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    monkeypatch.setattr("twinveil.garbling.outputs.next_block", lambda instance: instance - BLOCK)
    both_phases(1)
    with pytest.raises(AssertionError):
        calls.check()
    assert max(calls.evaluators.values()) > 1


def test_halves_under_one_tweak_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    labels = hashing.Hash.labels
    monkeypatch.setattr(hashing.Hash, "labels", lambda self, first, half, own: labels(self, first, 0, own))
    both_phases(1)
    with pytest.raises(AssertionError):
        calls.check()


def test_a_start_point_that_comes_again_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    monkeypatch.setattr(garbler.os, "urandom", lambda count: bytes(count))
    world.ask(world.query(tiny_plan()))
    with pytest.raises(AssertionError):
        calls.check()
    assert max(calls.garblers.values()) > 2
