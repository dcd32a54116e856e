"""The hash against a reference one block at a time, pinned answers, and how it is keyed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.hashing import BLOCK, CHUNK, block_ciphers, block_keys, hash_labels, sigma
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


def hashed(start_point: bytes, gate: int, labels: np.ndarray) -> np.ndarray:
    """The hashes of labels that are instances 0, 1, ... of a gate call."""
    out = np.empty_like(words(labels))
    hash_labels(block_ciphers(start_point, gate, range(len(labels))), words(labels), out)
    return out.reshape(-1).view(LABEL)


KNOWN = [
    # start point, gate, instance, label, hash: bytes on the wire in hexadecimal
    (
        "00000000000000000000000000000000",
        0,
        0,
        "00000000000000000000000000000000",
        "66e94bd4ef8a2c3b884cfa59ca342b2e",
    ),
    (
        "00000000000000000000000000000000",
        0,
        1,
        "00000000000000000000000000000000",
        "47711816e91d6ff059bbbf2bf58e0fd3",
    ),
    (
        "00000000000000000000000000000000",
        0,
        0,
        "01000000000000000000000000000000",
        "14d0b423e2c50fb9f8dce928b469f3ee",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        0,
        0,
        "00112233445566778899aabbccddeeff",
        "0a3f1466c93fa0668bf26abb343640fb",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        7,
        2047,
        "00112233445566778899aabbccddeeff",
        "0c9a9caa7a28280ef9a0c040159e216f",
    ),
    (
        "000102030405060708090a0b0c0d0e0f",
        7,
        2048,
        "00112233445566778899aabbccddeeff",
        "704eeb37e2829dcc521410b5df0e5645",
    ),
    (
        "ffffffffffffffffffffffffffffffff",
        1000,
        12345,
        "ffffffffffffffffffffffffffffffff",
        "ede798b684170a9a61c8fd6083922f03",
    ),
]


@pytest.mark.parametrize(("start", "gate", "instance", "label", "expected"), KNOWN)
def test_known_answers(start: str, gate: int, instance: int, label: str, expected: str) -> None:
    labels = np.frombuffer(bytes(16 * instance) + bytes.fromhex(label), LABEL)
    assert hashed(bytes.fromhex(start), gate, labels)[instance].tobytes().hex() == expected


@pytest.mark.parametrize("count", [0, 1, 7, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_equals_the_reference_across_blocks_and_chunks(count: int) -> None:
    start, labels = os.urandom(16), random_labels(count)
    result = integers(hashed(start, 3, labels))
    edges = {edge + step for edge in (0, BLOCK, CHUNK, count) for step in range(-2, 2)}
    for at in edges & {*range(count)}:
        key = (int.from_bytes(start, "little") ^ 3 << 64 ^ at // BLOCK).to_bytes(16, "little")
        assert result[at] == reference_hash(key, integers(labels[at : at + 1])[0], at % BLOCK)


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


def test_keys_are_the_start_point_xor_block_and_gate() -> None:
    start = os.urandom(16)
    assert block_keys(start, 0, range(1)) == [start]
    assert block_keys(start, 5, range(0)) == []
    keys = [key for gate in range(50) for key in block_keys(start, gate, range(99 * BLOCK + 1))]
    offsets = [int.from_bytes(key, "little") ^ int.from_bytes(start, "little") for key in keys]
    assert offsets == [gate << 64 | block for gate in range(50) for block in range(100)]
    assert block_keys(start, 5, range(3 * BLOCK, 5 * BLOCK + 1)) == keys[503:506]


def test_random_labels_differ_from_call_to_call() -> None:
    labels = np.concatenate([random_labels(1000), random_labels(1000), random_labels(0)])
    assert len(set(integers(labels))) == 2000
    # About half of all bits are set: 256,000 fair coins stay within 10 standard deviations.
    ones = np.unpackbits(labels.view(np.uint8)).sum()
    assert abs(int(ones) - 128_000) < 2530
