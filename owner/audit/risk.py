"""From similarities to a risk, its confidence interval, and words.

    B     = max(mean similarity of the mean picture, mean similarity of the shuffled-feature attacker)
    risk  = (mean similarity of the reconstructions - B) / (1 - B), cut to 0 .. 1

Similarity is SSIM. 0: the features give no more than knowing nothing does; 1: the picture itself. The
interval is a bootstrap over target subjects (all pictures of a drawn subject come along, B is
made anew every time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadInput

Level = Literal["low", "medium", "high", "attacker too weak", "not settled", "not measured"]

FORMULA = (
    "risk = (S - B) / (1 - B), cut to 0..1; S: mean SSIM of the reconstructions; B: the better baseline's"
)

STRONG_ENOUGH = 0.8
"""SSIM that an attacker has to reach on held-out pictures, given the pictures themselves."""

DRAWS, CONFIDENCE = 1000, 0.95

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """low: a risk below is low. high: a risk from here on is high. Raises BadInput unless 0 < low < high < 1.

    The upper end of the confidence interval is what is compared: an audit errs towards the higher level.
    """

    low: float = 0.1
    high: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < 1:
            raise BadInput(f"thresholds must be 0 < low < high < 1, not {self.low:g} and {self.high:g}")

    def level(self, risk: Risk, strong_enough: bool) -> Level:
        """A weak attacker proves a high risk, and no other."""
        if risk.upper >= self.high:
            return "high"
        if not strong_enough:
            return "attacker too weak"
        return "medium" if risk.upper >= self.low else "low"


@dataclass(frozen=True, slots=True)
class Risk:
    """score with the ends of its confidence interval, all 0 .. 1; baseline: B."""

    score: float
    lower: float
    upper: float
    baseline: float

    def __str__(self) -> str:
        return f"{self.score:.2f} ({self.lower:.2f} to {self.upper:.2f})"


def risk(similarity: Values, baselines: Sequence[Values], subjects: npt.NDArray[np.int64], seed: int) -> Risk:
    """similarity, each baseline, subjects: (targets,), pairwise of the same picture."""
    table = np.stack([similarity, *baselines])
    names, member = np.unique(subjects, return_inverse=True)
    # Sums and counts by subject: a draw of subjects is then a product with how often each was drawn.
    sums = np.stack([np.bincount(member, row, len(names)) for row in table])
    counts = np.bincount(member, minlength=len(names))
    source = np.random.default_rng(seed)
    drawn = source.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    means = (sums @ drawn.T) / (counts @ drawn.T)
    scores = _score(means)
    edge = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(scores, [edge, 1 - edge])
    whole = table.mean(axis=1, keepdims=True)
    return Risk(float(_score(whole)[0]), float(lower), float(upper), float(whole[1:].max()))


def _score(means: Values) -> Values:
    """Risks (draws,) of means (1 + baselines, draws)."""
    baseline = means[1:].max(axis=0)
    scores: Values = np.clip((means[0] - baseline) / np.maximum(1 - baseline, 1e-9), 0, 1)
    return scores
