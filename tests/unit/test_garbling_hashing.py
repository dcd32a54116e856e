"""The hash against a reference one block at a time, pinned answers, and how it is keyed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.hashing import CHUNK, gate_key, hash_labels, sigma
from twinveil.garbling.labels import LABEL, random_labels, words


def reference_sigma(label: int) -> int:
    """On 128-bit integers whose low 64 bits are xL, the first word."""
    left, right = label & (1 << 64) - 1, label >> 64
    return (left ^ right) | left << 64


def reference_hash(key: bytes, label: int, tweak: int) -> int:
    x = reference_sigma(label)
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return int.from_bytes(cipher.update((x ^ tweak).to_bytes(16, "little")), "little") ^ x


def label_array(values: list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(value.to_bytes(16, "little") for value in values), LABEL)


def integers(labels: np.ndarray) -> list[int]:
    return [int.from_bytes(word.tobytes(), "little") for word in words(labels)]


KNOWN = [
    # key, label, tweak, hash: all hexadecimal, label and hash as bytes on the wire
    (
        "00000000000000000000000000000000",
        "00000000000000000000000000000000",
        0,
        "66e94bd4ef8a2c3b884cfa59ca342b2e",
    ),
    (
        "00000000000000000000000000000000",
        "00000000000000000000000000000000",
        1,
        "47711816e91d6ff059bbbf2bf58e0fd3",
    ),
    (
        "00000000000000000000000000000000",
        "01000000000000000000000000000000",
        0,
        "14d0b423e2c50fb9f8dce928b469f3ee",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        "00112233445566778899aabbccddeeff",
        0,
        "0a3f1466c93fa0668bf26abb343640fb",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        "00112233445566778899aabbccddeeff",
        2**64 - 1,
        "ba68caf193e3e57df821b3c4d6287b0d",
    ),
    (
        "ffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffff",
        12345,
        "b4055fb4a0c10d3f38bea3aee5918563",
    ),
]


@pytest.mark.parametrize(("key", "label", "tweak", "expected"), KNOWN)
def test_known_answers(key: str, label: str, tweak: int, expected: str) -> None:
    labels = np.frombuffer(bytes.fromhex(label), LABEL)
    result = hash_labels(bytes.fromhex(key), labels, np.array([tweak], np.uint64))
    assert result.tobytes().hex() == expected


@pytest.mark.parametrize("count", [0, 1, 7, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_equals_the_reference_across_chunks(count: int) -> None:
    key, labels = os.urandom(16), random_labels(count)
    tweaks = np.arange(count, dtype=np.uint64) * np.uint64(3) + np.uint64(1 << 40)
    result = integers(hash_labels(key, labels, tweaks).reshape(-1).view(LABEL))
    for at in {*range(min(count, 5)), *range(max(count - 5, 0), count), *range(count)[CHUNK - 2 : CHUNK + 2]}:
        assert result[at] == reference_hash(key, integers(labels[at : at + 1])[0], int(tweaks[at]))


def test_sigma_is_a_linear_orthomorphism() -> None:
    """sigma and x -> sigma(x) xor x are both linear and one to one."""
    labels = label_array([1 << bit for bit in range(128)])
    out = np.empty_like(words(labels))
    sigma(words(labels), out)
    images = integers(out.reshape(-1).view(LABEL))
    assert images == [reference_sigma(1 << bit) for bit in range(128)]
    for columns in (images, [image ^ 1 << bit for bit, image in enumerate(images)]):
        assert rank(columns) == 128
    a, b = random_labels(1), random_labels(1)
    x, y = integers(a)[0], integers(b)[0]
    assert reference_sigma(x ^ y) == reference_sigma(x) ^ reference_sigma(y)


def rank(columns: list[int]) -> int:
    basis: list[int] = []
    for column in columns:
        for vector in basis:
            column = min(column, column ^ vector)
        if column:
            basis.append(column)
    return len(basis)


def test_gate_keys_are_the_start_point_xor_the_gate() -> None:
    start = os.urandom(16)
    assert gate_key(start, 0) == start
    keys = {gate_key(start, gate) for gate in range(5000)}
    assert len(keys) == 5000
    assert int.from_bytes(gate_key(start, 4097), "little") ^ int.from_bytes(start, "little") == 4097


def test_random_labels_differ_from_call_to_call() -> None:
    labels = np.concatenate([random_labels(1000), random_labels(1000), random_labels(0)])
    assert len(set(integers(labels))) == 2000
    # About half of all bits are set: 256,000 fair coins stay within 10 standard deviations.
    ones = np.unpackbits(labels.view(np.uint8)).sum()
    assert abs(int(ones) - 128_000) < 2530
