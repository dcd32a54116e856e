"""What an audit is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from owner.audit.attack import AttackOptions
from owner.audit.evaluation import Comparison
from owner.audit.inverse import ARCHITECTURES, Architecture, is_spatial
from owner.audit.permutation import FALSE_ALARM, UNSETTLED
from owner.audit.risk import STRONG_ENOUGH, Level, Risk, Thresholds
from owner.audit.subjects import Split
from owner.audit.views import Recorded
from twinveil.errors import BadInput
from twinveil.pictures.masks import Mask

Kind = Literal["spatial", "flat"]


def kind_of(shape: Sequence[int]) -> Kind:
    return "spatial" if is_spatial(shape) else "flat"


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """attackers: those tried; where there are several, validation decides which one counts."""

    attack: AttackOptions = field(default_factory=AttackOptions)
    attackers: tuple[Architecture, ...] = ("plain",)
    thresholds: Thresholds = field(default_factory=Thresholds)
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.attackers or set(self.attackers) - set(ARCHITECTURES):
            raise BadInput(f"an attacker is one of {', '.join(ARCHITECTURES)}")


@dataclass(frozen=True)
class AttackerStrength:
    """What the attacker makes of the pictures themselves: SSIM on targets."""

    kind: Kind
    ssim: float

    @property
    def passed(self) -> bool:
        return self.ssim >= STRONG_ENOUGH


@dataclass(frozen=True)
class AttackedFeatures:
    """One attack.

    made: reconstructions of all targets (n, channels, height, width), values 0 .. 1; made_shuffled: those of
    the attacker that learned from shuffled features.
    """

    name: str
    shape: tuple[int, ...]
    architecture: Architecture
    comparison: Comparison
    risk: Risk
    level: Level
    history: tuple[float, ...]
    best_epoch: int
    seconds: float
    made: Tensor
    made_shuffled: Tensor

    @property
    def kind(self) -> Kind:
        return kind_of(self.shape)


@dataclass(frozen=True)
class ViewAttacked:
    """A cloud's view, the same attack on the control, and the p-value of each (owner.audit.permutation)."""

    cloud: str
    attack: AttackedFeatures
    control: AttackedFeatures
    p: float
    control_p: float
    in_clear: str = "without masks"

    @property
    def leaks(self) -> bool:
        return self.p <= FALSE_ALARM

    @property
    def control_succeeds(self) -> bool:
        return self.control_p <= FALSE_ALARM

    @property
    def settled(self) -> bool:
        """Whether there is nothing that another recording would have to tell from chance."""
        return self.leaks or (self.p > UNSETTLED and self.attack.risk.lower == 0)

    @property
    def hidden(self) -> bool:
        """No better than chance, nor than the baselines, by an attack that is seen to work."""
        return self.control_succeeds and self.settled and not self.leaks

    @property
    def verdict(self) -> str:
        if self.leaks:
            return "GIVES SOMETHING AWAY"
        if not self.control_succeeds:
            return "not tested"
        return "no better than chance" if self.settled else "not settled, record again"


@dataclass(frozen=True)
class Inverted:
    """A whole audit. accuracy: the recogniser's on the targets; mean_picture: (1, channels, h, w).

    key_bits: of the key that the views were recorded with. mask: what covered the pictures before the model
    got them.
    """

    split: Split
    options: AuditOptions
    accuracy: float
    mean_picture: Tensor
    strengths: tuple[AttackerStrength, ...]
    layers: tuple[AttackedFeatures, ...]
    views: tuple[ViewAttacked, ...] = ()
    recorded: Recorded | None = None
    key_bits: int | None = None
    mask: Mask | None = None

    @property
    def queries(self) -> int:
        return len(self.recorded.pictures) if self.recorded else 0

    def layer(self, name: str) -> AttackedFeatures | None:
        return next((each for each in self.layers if each.name == name), None)
