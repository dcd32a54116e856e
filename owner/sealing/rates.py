"""False accepts and false rejects of a recogniser, on people it has never learnt from, in deployed integers.

Five of a person's pictures enrol, the others are probes; several draws. A genuine score compares a probe
with its own person's template, an impostor score with another's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from owner.sealing.faces import Faces
from twinveil.errors import BadInput
from twinveil.sealing.features import closeness, template
from twinveil.sealing.integers import COSINE_ONE, Integers

DRAWS = 10
ENROLLED = 5
MOST_FALSE_ACCEPTS = 0.01

Scores = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rates:
    """At a threshold: shares of false accepts and rejects, of how many comparisons; where both are equal."""

    threshold: int
    people: int
    genuine: int
    impostor: int
    false_accept_rate: float
    false_reject_rate: float
    equal_error_rate: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scores(vectors: list[Integers], faces: Faces, draws: int = DRAWS) -> tuple[Scores, Scores]:
    """Genuine and impostor scores, 15 bits, of features that stand beside their faces. Raises BadInput."""
    names = np.unique(faces.people)
    genuine: list[int] = []
    impostor: list[int] = []
    source = np.random.default_rng(2019)
    for _ in range(draws):
        templates, probes = {}, {}
        for name in names:
            places = source.permutation(np.flatnonzero(faces.people == name))
            if len(places) < 2:
                raise BadInput("rates need at least two pictures of everyone")
            cut = min(ENROLLED, len(places) - 1)
            templates[name] = template([vectors[place] for place in places[:cut]])
            probes[name] = [vectors[place] for place in places[cut:]]
        for name in names:
            for probe in probes[name]:
                for other in names:
                    (genuine if other == name else impostor).append(closeness(probe, templates[other]))
    return np.array(genuine), np.array(impostor)


def choose_threshold(genuine: Scores, impostor: Scores) -> int:
    """The lowest threshold that at most one impostor score in a hundred reaches, and always above 0."""
    allowed = int(len(impostor) * MOST_FALSE_ACCEPTS)
    lowest = int(np.sort(impostor)[::-1][allowed]) + 1
    return max(1, min(lowest, COSINE_ONE))


def rates(genuine: Scores, impostor: Scores, threshold: int, people: int) -> Rates:
    return Rates(
        threshold,
        people,
        len(genuine),
        len(impostor),
        round(float(np.mean(impostor >= threshold)), 4),
        round(float(np.mean(genuine < threshold)), 4),
        round(_equal_error(genuine, impostor), 4),
    )


def _equal_error(genuine: Scores, impostor: Scores) -> float:
    """Where the two rates are closest, their mean."""
    best = min(
        (abs(float(np.mean(impostor >= t)) - float(np.mean(genuine < t))), int(t))
        for t in np.unique(np.concatenate([genuine, impostor]))
    )[1]
    return (float(np.mean(impostor >= best)) + float(np.mean(genuine < best))) / 2
