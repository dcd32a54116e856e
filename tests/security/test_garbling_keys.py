"""Over a whole query no (key, tweak) of the garbling hash repeats, and no key serves more than a block; every
batch has a fresh start point."""

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

BLOCK = 8
CHUNK = 3 * BLOCK
"""Instances under one key, and in one chunk, so that the small network here takes several."""


class Calls:
    """Every use of the hash: (AES key, tweak), for gates, S1's side alone, and for transfers.

    Seen where AES is called, so that what counts is which key really meets which tweak.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.gates: Counter[tuple[bytes, int]] = Counter()
        self.transfers: Counter[tuple[bytes, int]] = Counter()
        self.start_points: list[bytes] = []
        aes, tweak, calls = hashing.aes, hashing.Scratch.tweak, self
        blocks: hashing.Words
        tweaks: npt.NDArray[np.uint64]

        def tweaked(scratch: hashing.Scratch) -> None:
            nonlocal blocks, tweaks
            before = scratch.tweaked.copy()
            tweak(scratch)
            blocks, tweaks = scratch.blocks, before ^ scratch.tweaked

        def recorded(key: bytes) -> hashing.Encrypt:
            encrypt = aes(key)

            def call(plain: memoryview, out: memoryview) -> object:
                row, first = divmod(address(plain) - address(blocks.data), blocks.strides[0])
                step, last = len(blocks) // len(tweaks), first + len(plain)
                if row % step == 0:
                    used = tweaks[row // step, first // 16 : last // 16].tolist()
                    calls.note(len(blocks), [(key, each) for each in used])
                return encrypt(plain, out)

            return call

        class Garbler(garbler.Garbler):
            def __init__(self, start_point: bytes, tables: npt.NDArray[np.uint64]) -> None:
                calls.start_points.append(start_point)
                super().__init__(start_point, tables)

        patch.setattr(hashing, "aes", recorded)
        patch.setattr(hashing.Scratch, "tweak", tweaked)
        patch.setattr(garbler, "Garbler", Garbler)
        patch.setattr(hashing, "_ROW", CHUNK + 4)
        for module in (hashing, garbler, evaluator, ot_extension):
            patch.setattr(module, "BLOCK", BLOCK)
            patch.setattr(module, "CHUNK", CHUNK, raising=False)

    def note(self, width: int, used: list[tuple[bytes, int]]) -> None:
        """width: blocks an instance: 1 for a transfer, 2 for the evaluator, 4 for the garbler."""
        if width == 1:
            self.transfers.update(used)
        elif width == 4:
            self.gates.update(used)


def address(buffer: memoryview) -> int:
    return int(np.asarray(buffer).__array_interface__["data"][0])


def largest_share(used: Counter[tuple[bytes, int]]) -> int:
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
    assert max(calls.gates.values()) == 1
    assert len(calls.gates) > 1000
    # Three for each transfer: S2's own pad, and both of S1's under secrets that differ.
    assert set(calls.transfers.values()) == {3}
    assert not {key for key, _ in calls.gates} & {key for key, _ in calls.transfers}
    assert largest_share(calls.gates) == 2 * BLOCK
    assert largest_share(calls.transfers) == BLOCK
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
