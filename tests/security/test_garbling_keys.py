"""Over a whole query no (key, tweak) of the garbling hash repeats; every batch has a fresh start point."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.security.peers import Watching
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.garbling import evaluator, garbler, hashing, ot_extension
from twinveil.garbling.circuit import START_POINT_BYTES
from twinveil.garbling.labels import Labels, Words

GARBLERS_BLOCKS = 4
"""Blocks an instance: two at the evaluator, who hashes the same labels under the same keys."""

SMALL_CHUNK = 24
"""Instances in one call of AES, so that the small network here takes several."""


class Calls:
    """Every use of the hash: (AES key, tweak), for gates and for transfers, S1's garbling side alone."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.gates: Counter[tuple[bytes, int]] = Counter()
        self.transfers: Counter[tuple[bytes, int]] = Counter()
        self.start_points: list[bytes] = []
        self._key = b""
        gate_key, hash_labels, tweak = hashing.gate_key, hashing.hash_labels, hashing.Scratch.tweak
        calls = self

        def key_of(start_point: bytes, gate: int) -> bytes:
            calls._key = gate_key(start_point, gate)
            return calls._key

        def hashed(key: bytes, labels: Labels, tweaks: npt.NDArray[np.uint64]) -> Words:
            calls.transfers.update((key, int(tweak)) for tweak in tweaks)
            return hash_labels(key, labels, tweaks)

        def tweaked(scratch: hashing.Scratch, first: int) -> None:
            before = scratch.tweaked.copy()
            tweak(scratch, first)
            if len(scratch.blocks) == GARBLERS_BLOCKS:
                used = before ^ scratch.tweaked
                calls.gates.update((calls._key, int(each)) for each in used.reshape(-1))

        class Garbler(garbler.Garbler):
            def __init__(self, start_point: bytes, tables: npt.NDArray[np.uint64]) -> None:
                calls.start_points.append(start_point)
                super().__init__(start_point, tables)

        patch.setattr(garbler, "gate_key", key_of)
        patch.setattr(garbler, "Garbler", Garbler)
        patch.setattr(hashing.Scratch, "tweak", tweaked)
        patch.setattr(ot_extension, "hash_labels", hashed)
        for module in (hashing, garbler, evaluator):
            patch.setattr(module, "CHUNK", SMALL_CHUNK)


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
    assert max(calls.gates.values()) == 1
    assert len(calls.gates) > 1000
    # Three for each transfer: S2's own pad, and both of S1's under secrets that differ.
    assert set(calls.transfers.values()) == {3}
    assert not {key for key, _ in calls.gates} & {key for key, _ in calls.transfers}
    assert len({key for key, _ in calls.transfers}) == 2
    assert len(set(calls.start_points)) == len(calls.start_points) >= 6
    sent = [
        each.garbled_batch.tables[:START_POINT_BYTES]
        for peer in watched
        for each in peer.requests
        if each.WhichOneof("body") == "garbled_batch"
    ]
    assert len(set(sent)) == len(sent)
    assert set(sent) <= set(calls.start_points)


def test_a_start_point_that_comes_again_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    monkeypatch.setattr(garbler.os, "urandom", lambda count: bytes(count))
    world.ask(world.query(tiny_plan()))
    assert max(calls.gates.values()) > 1
