"""Numbers that must never be found in a log, an error or a repr, and the search for them in a text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

import numpy as np
from google.protobuf.text_encoding import CEscape

from twinveil.crypto.secret_key import SecretKey
from twinveil.network.plan import QuantisedModel

PIXELS = np.array([201, 17, 233, 94, 58, 249, 131, 66, 187], np.uint8).reshape(1, 3, 3)
WEIGHTS = np.array([-97, 113, 59, -101, 83, -43, 71, -127], np.int64)


def with_canaries(model: QuantisedModel) -> QuantisedModel:
    """The same with WEIGHTS all over."""
    weights = {name: np.resize(WEIGHTS, each.shape) for name, each in model.weights.items()}
    return QuantisedModel(model.plan, weights, model.biases)


def spellings(numbers: np.ndarray) -> Iterator[str]:
    """A run of small numbers as a log might have it."""
    run = [int(each) for each in numbers.reshape(-1)[:4]]
    yield " ".join(str(each) for each in run[:3])
    yield bytes(each & 255 for each in run).hex()
    yield repr(bytes(each & 255 for each in run))[2:-1]
    yield CEscape(bytes(each & 255 for each in run), as_utf8=False)  # as protobuf shows bytes


def of_number(number: int) -> Iterator[str]:
    """A long number in every usual base, the middle of it: prefixes and line breaks do not matter."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    encoded = base64.b64encode(data), base64.urlsafe_b64encode(data)
    for text in (str(number), f"{number:x}", *(each.decode() for each in encoded)):
        yield text[4:20]


def holds(text: str, wanted: set[str]) -> set[str]:
    """The canaries in a text, as it stands or with all that separates numbers as one space."""
    squeezed = re.sub(r"[\s,\[\]]+", " ", text)
    return {each for each in wanted if each in text or each in squeezed}


def of_key(key: SecretKey) -> Iterator[str]:
    """The factors, and what decryption keeps of them."""
    for number in (key._p, key._q, (key._p - 1) * (key._q - 1), *(half[1] for half in key._halves)):
        yield from of_number(int(number))


def long_enough(texts: Iterable[str]) -> set[str]:
    """Those that do not turn up by chance."""
    return {text for text in texts if len(text) >= 8}
