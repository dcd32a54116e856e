"""Queries for the label alone: S2 does not learn it, and each cloud keeps to the owner's word by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_image
from tests.security.world import USER, World, filled, finish, tiny_model, tiny_plan
from twinveil.cloud import requests
from twinveil.errors import NotAllowed
from twinveil.garbling.ahead import EvaluatorHalf
from twinveil.garbling.bits import to_bits
from twinveil.network import oracle
from twinveil.network.plan import Dense, Plan
from twinveil.params import MAX_PICTURES
from twinveil.protocol.packed.stages import LABEL
from twinveil.rehearsal.clouds import Clouds

Bits = npt.NDArray[np.bool_]

QUERIES = 6
"""Of MAX_PICTURES pictures: at least 48 samples of every bit; chance explains a failure with 3e-14."""


def test_s2_sees_a_label_under_a_fresh_mask_for_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, seen = EvaluatorHalf.open, list[Any]()

    def opening(half: EvaluatorHalf, answer: bytes) -> dict[str, Any]:
        outputs = opened(half, answer)
        seen.extend(made for name, made in outputs.items() if name == LABEL)
        return outputs

    monkeypatch.setattr(EvaluatorHalf, "open", opening)
    model = filled(Plan((1, 2, 2), 8, (Dense("dense", "image", 4, 8, 20),), 0))
    image = random_image(model.plan, 1)
    label = int(np.argmax(oracle.run(model, image)))
    clouds = Clouds(model, secret_key(512))
    for _ in range(QUERIES):
        labels = clouds.classify(np.stack([image] * MAX_PICTURES), label_only=True).values
        assert (labels == label).all()
    masked = to_bits(np.array(seen).reshape(QUERIES, MAX_PICTURES), 2).transpose(1, 0, 2)
    assert masked.shape == (QUERIES, 2, MAX_PICTURES)
    for differences in (masked, masked[:, :, 1::2] ^ masked[:, :, ::2], masked[1::2] ^ masked[::2]):
        assert both_values(differences)


def both_values(bits: Bits) -> bool:
    """Whether every bit is 0 at least once and 1 at least once. bits: (queries, bits, pictures)."""
    return bool((bits.any(axis=(0, 2)) & ~bits.all(axis=(0, 2))).all())


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.outsource(tiny_model(), engines=("packed", "textbook"), label_only=True)
    return made


def test_each_cloud_refuses_the_vector_to_the_user(world: World) -> None:
    query = world.query(tiny_plan())
    for ask in (
        lambda: finish(world.queries1.classify(query.s1, USER)),
        lambda: next(world.queries2.classify(query.s2, USER)),
    ):
        with pytest.raises(NotAllowed, match="only the label"):
            ask()


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_s2_refuses_the_vector_to_s1(world: World, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """A user's query that got past both clouds' first look."""
    honest = requests.read_query
    for cloud in ("cloud_s1", "cloud_s2"):
        monkeypatch.setattr(f"{cloud}.queries.read_query", careless(honest))
    with pytest.raises(NotAllowed, match="only the label"):
        world.ask(world.query(tiny_plan(), engine=engine))
    world.ask(world.query(tiny_plan(), engine=engine, label_only=True))


def careless(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda query, caller, record, *rest: honest(
        query, caller, replace(record, label_only=False), *rest
    )
