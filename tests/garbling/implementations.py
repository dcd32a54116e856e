"""Both ways to do `primitives`, and one label at a time on 128-bit integers."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from twinveil.garbling.hashing import BLOCK, block_key
from twinveil.garbling.labels import LABEL, Words, words
from twinveil.garbling.native.gates import SUPPORTED, Native
from twinveil.garbling.portable import Portable
from twinveil.garbling.primitives import Primitives
from twinveil.native import REQUIRED, asked

IMPLEMENTATIONS = (Portable, Native)


def here(made: type[Primitives]) -> type[Primitives]:
    """That one; if this machine lacks it, it is named as not run."""
    if made is Native and not SUPPORTED:
        if asked() == REQUIRED:
            pytest.fail("native garbling is required and not there")
        pytest.skip("no native garbling here")
    return made


def use(patch: pytest.MonkeyPatch, made: type[Primitives]) -> None:
    """Whatever is garbled from now on is garbled with that one."""
    patch.setattr("twinveil.garbling.primitives.implementation", lambda: here(made))


def label_array(values: list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(value.to_bytes(16, "little") for value in values), LABEL)


def label_words(values: list[int]) -> Words:
    return words(label_array(values))


def integers(labels: np.ndarray) -> list[int]:
    """Of labels, or of their words."""
    return [int.from_bytes(each.tobytes(), "little") for each in labels.reshape(-1).view(LABEL)]


def reference_sigma(label: int) -> int:
    """On 128-bit integers whose low 64 bits are xL, the first word."""
    left, right = label & (1 << 64) - 1, label >> 64
    return (left ^ right) | left << 64


def reference_hash(key: bytes, label: int, tweak: int) -> int:
    x = reference_sigma(label) ^ tweak << 64
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return int.from_bytes(cipher.update(x.to_bytes(16, "little")), "little") ^ x


def instance_hash(start: bytes, instance: int, half: int, label: int) -> int:
    number, place = divmod(instance, BLOCK)
    return reference_hash(block_key(start, number), label, 2 * place + half)
