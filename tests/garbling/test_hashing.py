"""The hash against a reference one block at a time, pinned answers, and how it is keyed."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from tests.garbling.implementations import (
    IMPLEMENTATIONS,
    here,
    instance_hash,
    integers,
    reference_sigma,
)
from twinveil.garbling import hashing
from twinveil.garbling.hashing import BLOCK, CHUNK, Hash, Keys, block_key, next_block
from twinveil.garbling.labels import LABEL, random_labels, words
from twinveil.garbling.portable import Choice
from twinveil.garbling.primitives import Primitives

ZERO, SOME, ONES = "00" * 16, "000102030405060708090a0b0c0d0e0f", "ff" * 16
KNOWN = [
    # start point, instance, half, label, hash: bytes on the wire in hexadecimal
    (ZERO, 0, 0, ZERO, "66e94bd4ef8a2c3b884cfa59ca342b2e"),
    (ZERO, 0, 1, ZERO, "0c546f62bf2773cd0e564fceca7ba688"),
    (ZERO, 0, 0, "01000000000000000000000000000000", "14d0b423e2c50fb9f8dce928b469f3ee"),
    (SOME, 255, 1, "00112233445566778899aabbccddeeff", "6c9b9b537ecdeec408853ea181a148b4"),
    (SOME, 256, 0, "00112233445566778899aabbccddeeff", "87881bed558ca11d1240af5a0aadc1b5"),
    (ONES, 123456, 1, ONES, "39e4b0a3af4b48fba7250e497e246c68"),
]


@pytest.mark.parametrize("made", IMPLEMENTATIONS)
@pytest.mark.parametrize(("start", "instance", "half", "label", "expected"), KNOWN)
def test_known_answers(
    start: str, instance: int, half: int, label: str, expected: str, made: type[Primitives]
) -> None:
    labels = words(np.frombuffer(bytes.fromhex(label), LABEL))
    assert here(made)(bytes.fromhex(start)).hash(instance, half, labels).tobytes().hex() == expected


@pytest.mark.parametrize("made", IMPLEMENTATIONS)
@pytest.mark.parametrize("first", [0, 1, BLOCK - 1, 7 * BLOCK, 7 * BLOCK + 5])
@pytest.mark.parametrize("count", [0, 1, 7, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_equals_the_reference_across_blocks_and_chunks(
    first: int, count: int, made: type[Primitives]
) -> None:
    start, labels = os.urandom(16), random_labels(count)
    under_test = here(made)(start)
    for half in (0, 1):
        result = integers(under_test.hash(first, half, words(labels)))
        assert len(result) == count
        edges = {edge + step for edge in (0, BLOCK, CHUNK, count) for step in range(-2, 2)}
        for at in (edges | {edge - first % BLOCK for edge in edges}) & {*range(count)}:
            assert result[at] == instance_hash(start, first + at, half, integers(labels[at : at + 1])[0])


def test_keys_set_up_ahead_kept_and_forgotten_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are set up once, but for those that were forgotten."""
    monkeypatch.setattr(hashing, "_KEYS_KEPT", 3)
    made: list[bytes] = []
    aes = hashing.aes
    monkeypatch.setattr(hashing, "aes", lambda key: made.append(key) or aes(key))
    start, labels = os.urandom(16), words(random_labels(10 * BLOCK))
    whole = Hash(Keys(start)).labels(0, 1, labels)
    made.clear()
    ahead = Hash(Keys(start))
    ahead.keys.set_up(range(BLOCK + 1, 10 * BLOCK))
    assert made == [block_key(start, number) for number in range(1, 10)]
    for at in range(10):
        part = slice(at * BLOCK, (at + 1) * BLOCK)
        np.testing.assert_array_equal(ahead.labels(at * BLOCK, 1, labels[part]), whole[part])
        ahead.keys.forget((at + 1) * BLOCK)
    assert len(made) == len(set(made)) == 10
    np.testing.assert_array_equal(ahead.labels(0, 1, labels), whole)
    assert len(made) > 12


def test_sigma_is_a_linear_orthomorphism() -> None:
    """sigma and x -> sigma(x) xor x are both linear and one to one."""
    images = [reference_sigma(1 << bit) for bit in range(128)]
    for columns in (images, [image ^ 1 << bit for bit, image in enumerate(images)]):
        assert rank(columns) == 128
    x, y = integers(random_labels(2))
    assert reference_sigma(x ^ y) == reference_sigma(x) ^ reference_sigma(y)


def rank(columns: list[int]) -> int:
    basis: list[int] = []
    for column in columns:
        for vector in basis:
            column = min(column, column ^ vector)
        if column:
            basis.append(column)
    return len(basis)


def test_keys_are_the_start_point_xor_block() -> None:
    start = os.urandom(16)
    assert block_key(start, 0) == start
    offsets = [
        int.from_bytes(block_key(start, at), "little") ^ int.from_bytes(start, "little") for at in range(99)
    ]
    assert offsets == [*range(99)]
    assert [next_block(at) for at in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1)] == [
        0,
        BLOCK,
        BLOCK,
        BLOCK,
        2 * BLOCK,
    ]


def test_a_hash_is_not_pickled() -> None:
    assert repr(Hash(Keys(os.urandom(16)))) == "Hash(...)"
    with pytest.raises(TypeError):
        pickle.dumps(Hash(Keys(os.urandom(16))))


@pytest.mark.parametrize("count", [0, 1, 5, 64])
def test_rows_are_chosen_by_the_lowest_bit(count: int) -> None:
    choice, labels, rows = Choice(64), words(random_labels(count)), words(random_labels(count))
    choice.rows(count)[:] = rows
    chosen = [
        row if label[0] & 1 else [0, 0] for row, label in zip(rows.tolist(), labels.tolist(), strict=True)
    ]
    assert choice.by(labels).tolist() == chosen


def test_random_labels_differ_from_call_to_call() -> None:
    labels = np.concatenate([random_labels(1000), random_labels(1000), random_labels(0)])
    assert len(set(integers(labels))) == 2000
    # About half of all bits are set: 256,000 fair coins stay within 10 standard deviations.
    ones = np.unpackbits(labels.view(np.uint8)).sum()
    assert abs(int(ones) - 128_000) < 2530
