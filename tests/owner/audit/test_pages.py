"""A picture in clear, once, in all that a cloud receives, is found; and nothing is where there is nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from owner.audit.attack import AttackOptions, train_attacker
from owner.audit.pages import PAGE, PAGES, telling_pages
from owner.audit.permutation import FALSE_ALARM, p_value
from owner.audit.subjects import split
from owner.audit.views import Recorded
from tests.owner.audit.sets import digits
from twinveil.rehearsal.arrays import FIELD, fold, planted

pytestmark = pytest.mark.slow

MESSAGES = (14_000, 3 * FIELD, 40_000)
"""Lengths like those that S1 receives in a query of a small model."""


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded.choose(split(digits(12), 1, limit=300), 96, 1)


def streams(recorded: Recorded, leak: int | None = None) -> npt.NDArray[np.uint8]:
    """Random messages of every query; that of number `leak` holds the picture."""
    source = np.random.default_rng(5)

    def stream(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        messages = [source.integers(0, 256, size, dtype=np.uint8) for size in MESSAGES]
        return np.concatenate(
            [planted(each, picture) if at == leak else fold(each) for at, each in enumerate(messages)]
        )

    return np.stack([stream(picture) for picture in recorded.pictures])


def p_of(recorded: Recorded, stream: npt.NDArray[np.uint8]) -> float:
    features = telling_pages([stream], recorded.sample.pictures)
    material, attacked = recorded.material(features)
    attacker = train_attacker(material, AttackOptions(epochs=1))
    return p_value(attacker(attacked), torch.from_numpy(recorded.target.pictures).float() / 255, 1)


@pytest.mark.parametrize("leak", range(len(MESSAGES)))
def test_a_picture_in_clear_in_one_message_is_found(recorded: Recorded, leak: int) -> None:
    assert p_of(recorded, streams(recorded, leak)) <= FALSE_ALARM


def test_random_messages_are_no_better_than_chance(recorded: Recorded) -> None:
    assert p_of(recorded, streams(recorded)) > 0.01


def test_pages_are_chosen_by_the_samples_alone(recorded: Recorded) -> None:
    """A stream that holds the pictures of validation and targets only looks like any other."""
    stream, samples = streams(recorded), len(recorded.sample)
    flat = recorded.pictures.reshape(len(stream), -1)
    stream[samples:, : flat.shape[1]] = flat[samples:]
    kept = telling_pages([stream], recorded.sample.pictures)
    clean = telling_pages([streams(recorded)], recorded.sample.pictures)
    assert (kept[:samples] == clean[:samples]).all()


def test_pages_of_several_streams_and_of_constant_bytes() -> None:
    source = np.random.default_rng(1)
    pictures = source.integers(0, 256, (20, 1, 6, 6), dtype=np.uint8)
    header = np.zeros((25, 2 * PAGE + 10), np.uint8)
    noise = source.integers(0, 256, (25, 3 * PAGE), dtype=np.uint8)
    kept = telling_pages([header, noise], pictures)
    assert kept.shape[1] <= PAGES * PAGE
    assert torch.isfinite(kept).all()
    leaking = np.concatenate([noise[:, :PAGE], np.tile(np.resize(pictures, (25, 36)), 10)], axis=1)
    assert (
        telling_pages([header, leaking], pictures)[:20, -360:].reshape(20, 10, 36)
        == torch.from_numpy(pictures.reshape(20, 1, 36))
    ).all()
