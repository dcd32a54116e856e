"""A trained distinguisher: it learns two classes from half of the views and guesses the class of the others.

Features are all masked values of a view: place in the range, length and leading bits, low bits. The strongest
of them by Welch's t on the training half go into a ridge regression. Where views say nothing of the class,
every guess is a coin's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinveil.views.chances import guessing, interval
from twinveil.views.fields import Field, Floats, Values, fields
from twinveil.views.view import View

COLUMNS = 2048
"""Values of a field that are looked at, spread evenly."""
STRONGEST = 64
FEWEST = 8
"""Views of a class below which nothing can be learned and tested."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """right of `guesses` held-out views were told apart. what: of which conversations."""

    cloud: str
    what: str
    classes: str
    right: int
    guesses: int

    @property
    def accuracy(self) -> float:
        return self.right / self.guesses

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return interval(self.right, self.guesses)

    @property
    def p(self) -> float:
        return guessing(self.right, self.guesses)


def distinguish(classes: str, ones: Sequence[View], others: Sequence[View]) -> Outcome | None:
    """Two classes of views of one kind, equally many of each; None if there are too few."""
    each = min(len(ones), len(others)) // 2 * 2
    if each < FEWEST:
        return None
    chosen = [view for pair in zip(ones[:each], others[:each], strict=True) for view in pair]
    rows = features(fields(chosen))
    truth = np.tile([1.0, -1.0], each)
    training = np.arange(2 * each) % 4 < 2
    guesses = _learn(rows[training], truth[training], rows[~training])
    right = int((guesses == truth[~training]).sum())
    return Outcome(ones[0].role, ones[0].what, classes, right, len(guesses))


def features(found: Sequence[Field]) -> Floats:
    """(views, features)."""
    columns = []
    for field in found:
        columns.append(_spread(field.levels) / field.count)
        if field.fractions is not None:
            place = np.clip(_spread(field.fractions), -2.0, 2.0)
            columns += [place, *np.frexp(place)]
    return np.concatenate(columns, axis=1)


def _spread(values: Values) -> Values:
    """COLUMNS of them at most."""
    return values[:, :: -(-values.shape[1] // COLUMNS)]


def _learn(rows: Floats, truth: Floats, unseen: Floats) -> Floats:
    """Guesses, 1 or -1, for the unseen rows."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-12
    rows, unseen = (rows - mean) / spread, (unseen - mean) / spread
    a, b = rows[truth > 0], rows[truth < 0]
    noise = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b)) + 1e-9
    strength = np.abs(a.mean(axis=0) - b.mean(axis=0)) / noise
    best = np.argsort(-strength, kind="stable")[:STRONGEST]
    rows, unseen = rows[:, best], unseen[:, best]
    ridge = len(rows) * np.eye(rows.shape[1])
    weights = np.linalg.solve(rows.T @ rows + ridge, rows.T @ truth)
    return np.where(unseen @ weights >= 0, 1.0, -1.0)
