"""What a selection says: its rules, the rows of both tables, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from owner.masks.statistics import Figure
from twinveil.errors import BadInput

Rule = Literal["published", "simple", "nearest"]
Verdict = Literal["target", "below the threshold", "attacker too weak"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds in points, floors in per cent, gain in dB; the published ones by default.

    candidates: masks a group that stay, ties with the last one included.
    floor, gain: what keeps a weak attacker from judging.
    """

    threshold1: float = 30.0
    threshold2: float = 7.0
    candidates: int = 3
    floor: float = 50.0
    gain: float = 3.0
    simple_masked: float = 80.0
    simple_original: float = 50.0

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise BadInput(f"at least two candidates a group, not {self.candidates}")
        for name in ("threshold1", "threshold2", "floor", "simple_masked", "simple_original"):
            if not 0 <= getattr(self, name) <= 100:
                raise BadInput(f"{name} must be 0 to 100, not {getattr(self, name)}")
        if not 0 <= self.gain <= 60:
            raise BadInput(f"gain must be 0 to 60 dB, not {self.gain}")


def exact(threshold: float) -> Fraction:
    """The number as it is written: 30.1 is 301/10, which no float is."""
    return Fraction(str(threshold))


@dataclass(frozen=True, slots=True)
class MaskGroup:
    """A row of the first table; figures in per cent and points, None for a group without masks."""

    name: str
    masks: int
    first: Figure | None
    second: Figure | None
    difference: Figure | None
    kept: bool
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """One mask: its accuracies over its own test pictures. third: of the masked-image recogniser."""

    name: str
    group: str
    share: float
    digest: str
    third: Figure
    original: Figure
    candidate: bool = False
    simple: bool = False


@dataclass(frozen=True, slots=True)
class AttackedMask:
    """A mask under attack: a row of the second table.

    original_before, original_after: the original recogniser on covered and on repaired pictures.
    repaired_psnr, mean_psnr: in dB, of the repair and of filling with the mean; gain: their difference.
    """

    name: str
    group: str
    fourth: Figure
    fifth: Figure
    difference: Figure
    original_before: Figure
    original_after: Figure
    repaired_psnr: Figure
    mean_psnr: float
    gain: Figure
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether what the publication reports appears here, by the 95 % intervals over seeds."""

    claim: str
    verdict: Literal["appears", "does not appear", "not settled", "not tested"]
    evidence: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything that was measured and decided.

    targets, simple_targets: names, the most accurate first. nearest: the judged candidate with the largest
    fourth minus fifth accuracy, if there is one. empty: why a rule has selected nothing. notes: that, and
    ties.
    """

    rules: Rules
    pictures: int
    whole_masked: Figure
    whole_original: Figure
    groups: tuple[MaskGroup, ...]
    masks: tuple[Row, ...]
    candidates: tuple[AttackedMask, ...]
    simple: tuple[AttackedMask, ...]
    targets: tuple[str, ...]
    simple_targets: tuple[str, ...]
    nearest: tuple[str, ...]
    empty: dict[Rule, str]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]

    def of(self, rule: Rule) -> tuple[str, ...]:
        """Names of the masks that a rule has selected."""
        chosen = {"published": self.targets, "simple": self.simple_targets, "nearest": self.nearest}
        return chosen[rule]
