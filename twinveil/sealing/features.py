"""Face features: the recogniser's vector of a picture, the template of an account, and how close they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinveil.errors import BadInput, BadPlan
from twinveil.sealing.integers import COSINE_ONE, Integers
from twinveil.sealing.network import run
from twinveil.sealing.network_files import Network
from twinveil.sealing.pixels import Pixels, grey_square, normalised


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Part: features. facts["threshold"]: the least cosine, of 15 bits, that passes for the same face."""

    network: Network

    def __post_init__(self) -> None:
        threshold = self.network.facts.get("threshold")
        if self.network.kind != "recogniser" or set(self.network.parts) != {"features"}:
            raise BadPlan("this network recognises no faces")
        if not isinstance(threshold, int) or not 0 < threshold <= COSINE_ONE:
            raise BadPlan("the recogniser has no threshold")

    @property
    def threshold(self) -> int:
        return int(self.network.facts["threshold"])

    def features(self, pixels: Pixels) -> Integers:
        """Raises BadImage for a picture without contrast."""
        picture = normalised(grey_square(pixels, self.network.side))
        return run(self.network.parts["features"], picture[np.newaxis])


def template(vectors: Sequence[Integers]) -> Integers:
    """What is kept of several pictures of one face: the sum of their vectors, each of equal length."""
    if not vectors:
        raise BadInput("a template needs at least one picture")
    return np.asarray(np.sum([_unit(vector) for vector in vectors], axis=0), dtype=np.int64)


def closeness(a: Integers, b: Integers) -> int:
    """The cosine of two vectors, of 15 bits."""
    if a.shape != b.shape:
        raise BadPlan("features of two recognisers cannot be compared")
    left, right = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(left, right, strict=True))
    length = math.isqrt(sum(x * x for x in left) * sum(y * y for y in right))
    return 0 if length == 0 else max(-COSINE_ONE, min(COSINE_ONE, (dot << 15) // length))


def _unit(vector: Integers) -> Integers:
    length = math.isqrt(sum(value * value for value in vector.tolist()))
    return (vector << 15) // max(1, length)
