"""The audit: how strong is the attacker, what does each layer give away, what do the clouds' views.

gates      the attacker must be able to copy the picture itself, or no low risk is believed
layers     attack and shuffled attack on every layer asked for
views      attack on what each cloud saw, with a control that has no masks
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from owner.audit.attack import Attacker, AttackOptions, Material, one_thread, train_attacker
from owner.audit.evaluation import Comparison, Targets
from owner.audit.features import PICTURE, SCORES, Extractor
from owner.audit.inverse import ARCHITECTURES, Architecture, is_spatial
from owner.audit.material import LayerMaterial, pixels
from owner.audit.metrics import ssim
from owner.audit.risk import STRONG_ENOUGH, Level, Risk, Thresholds
from owner.audit.subjects import Group, Split
from owner.audit.views import Recorded, View, Views, views
from twinveil.errors import BadInput

Kind = Literal["spatial", "flat"]

Step = Callable[[int, int, str], None]
"""(attacks done, attacks in all, what is at work)"""

HIDDEN = 0.05
"""A view whose risk is at most this, with 0 inside its interval, is no better than the baselines."""

SHOWN = 8
"""Targets whose pictures are kept for the report, of as many subjects as can be."""


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
class Gate:
    """What the attacker makes of the pictures themselves, on targets."""

    kind: Kind
    ssim: float

    @property
    def passed(self) -> bool:
        return self.ssim >= STRONG_ENOUGH


@dataclass(frozen=True)
class Attacked:
    """One attack with all that is known of it. shown: reconstructions of the targets shown, 0 .. 1."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    architecture: Architecture
    comparison: Comparison
    risk: Risk
    level: Level
    history: tuple[float, ...]
    best_epoch: int
    seconds: float
    shown: Tensor


@dataclass(frozen=True)
class ViewAttacked:
    """A cloud's view, and the same attack on the control."""

    cloud: str
    attack: Attacked
    control: Attacked

    @property
    def control_succeeds(self) -> bool:
        return self.control.risk.lower > HIDDEN and self.control.level in ("medium", "high")

    @property
    def hidden(self) -> bool:
        """No better than the baselines, by an attack that is seen to work."""
        risk = self.attack.risk
        return self.control_succeeds and risk.lower == 0 and risk.score <= HIDDEN

    @property
    def verdict(self) -> str:
        if not self.control_succeeds:
            return "attacker too weak"
        return "no better than the baselines" if self.hidden else "GIVES SOMETHING AWAY"


@dataclass(frozen=True)
class Inverted:
    """A whole audit. originals, mean_picture: 0 .. 1; shown: places of the targets shown."""

    split: Split
    options: AuditOptions
    recogniser_accuracy: float
    gates: tuple[Gate, ...]
    layers: tuple[Attacked, ...]
    views: tuple[ViewAttacked, ...]
    originals: Tensor
    mean_picture: Tensor
    views_originals: Tensor
    queries: int

    def layer(self, name: str) -> Attacked | None:
        return next((each for each in self.layers if each.name == name), None)


class Inversion:
    """One audit of one network on one split. Raises BadInput, before any training, for what cannot be."""

    def __init__(self, network: nn.Module, split: Split, options: AuditOptions) -> None:
        channels, height, width = split.target.pictures.shape[1:]
        self._extractor = Extractor(network, (channels, height, width))
        if self._extractor.classes != len(split.class_names):
            raise BadInput(
                f"the model tells {self._extractor.classes} classes apart, data set {split.name} has "
                f"{len(split.class_names)}: audit a model on the data that it recognises"
            )
        self._layers = options.layers or self._extractor.default_layers()
        self._extractor.check(self._layers)
        self._split, self._options = split, options
        self._step: Step = lambda done, most, label: None
        self._targets = self._seen_by(split.target)
        self._mean = pixels(split.sample.pictures).mean(dim=0, keepdim=True) / 255
        self._gates: dict[Kind, Gate] = {}
        self._copyist: Attacker | None = None
        self._done, self._most = 0, 0

    def report_to(self, step: Step) -> None:
        self._step = step

    def run(self, recorded: Recorded | None = None, seen: Views | None = None) -> Inverted:
        """recorded and seen: the queries behind the clouds' views, and the views; neither: layers only."""
        with one_thread():
            return self._run(recorded, seen)

    def _run(self, recorded: Recorded | None, seen: Views | None) -> Inverted:
        cloud_views = views(seen) if seen is not None else []
        rounds = len(self._options.attackers)
        kinds = {self._kind(self._extractor.shapes[name]) for name in self._layers}
        self._most = rounds * (
            2 * len(self._layers) + 4 * len(cloud_views) + len(kinds) - (PICTURE in self._layers)
        )
        for kind in sorted(kinds):
            self._gates[kind] = self._gate(kind)
        layers = tuple(self._layer(name) for name in self._layers)
        attacked = tuple(self._view(view, recorded) for view in cloud_views) if recorded is not None else ()
        shown = _shown(self._targets.group)
        views_shown = _shown(recorded.target) if recorded is not None else []
        return Inverted(
            self._split,
            self._options,
            float(self._targets.measure(self._targets.pictures).recognised.mean()),
            tuple(self._gates.values()),
            layers,
            attacked,
            self._targets.pictures[shown],
            self._mean,
            pixels(recorded.target.pictures)[views_shown] / 255 if recorded is not None else torch.zeros(0),
            len(recorded.pictures) if recorded is not None else 0,
        )

    def _gate(self, kind: Kind) -> Gate:
        """The identity layer, with places or without."""
        layer = LayerMaterial(self._extractor, PICTURE, self._split)
        material, (features, pictures) = layer.material(), layer.pair(self._split.target)
        if kind == "flat":
            material, features = _flattened(material), features.flatten(1)
        attacker = self._train(material, f"attacker's strength, {kind}")
        if kind == "spatial":
            self._copyist = attacker
        return Gate(kind, float(ssim(attacker(features), pictures).mean()))

    def _layer(self, name: str) -> Attacked:
        layer = LayerMaterial(self._extractor, name, self._split)
        features, _ = layer.pair(self._split.target)
        gate = self._gates[self._kind(self._extractor.shapes[name])]
        known = self._copyist if name == PICTURE else None
        return self._attack(name, layer.material(), features, self._targets, gate.passed, known)

    def _view(self, view: View, recorded: Recorded) -> ViewAttacked:
        targets = self._seen_by(recorded.target)
        material, features = recorded.material(view.control)
        control = self._attack(f"{view.name}, unmasked", material, features, targets, True)
        material, features = recorded.material(view.features)
        attack = self._attack(view.name, material, features, targets, True)
        return ViewAttacked(view.cloud, attack, control)

    def _attack(
        self,
        name: str,
        material: Material,
        features: Tensor,
        targets: Targets,
        strong_enough: bool,
        trained: Attacker | None = None,
    ) -> Attacked:
        """trained: an attacker that has already learned from this material."""
        begun = time.monotonic()
        attacker = trained or self._train(material, name)
        shuffled = self._train(material, f"{name}, shuffled", shuffled=True)
        made = attacker(features)
        comparison = Comparison(
            targets.measure(made), targets.measure(self._mean), targets.measure(shuffled(features))
        )
        risk = comparison.risk(targets, self._options.attack.seed)
        shape = tuple(features.shape[1:])
        return Attacked(
            name,
            shape,
            self._kind(shape),
            attacker.architecture,
            comparison,
            risk,
            self._options.thresholds.level(risk, strong_enough),
            attacker.history,
            attacker.best_epoch,
            time.monotonic() - begun,
            made[_shown(targets.group)],
        )

    def _train(self, material: Material, what: str, *, shuffled: bool = False) -> Attacker:
        """The attacker that does best on validation, of the architectures asked for."""
        trained = []
        for architecture in self._options.attackers:
            options = replace(self._options.attack, architecture=architecture)

            def report(epoch: int, _most: int) -> None:
                self._step(self._done, self._most, f"{what}, epoch {epoch}")

            self._step(self._done, self._most, what)
            trained.append(train_attacker(material, options, shuffled=shuffled, report=report))
            self._done += 1
        return max(trained, key=lambda attacker: max(attacker.history))

    def _seen_by(self, group: Group) -> Targets:
        return Targets(group, lambda given: self._extractor(given, SCORES))

    @staticmethod
    def _kind(shape: Sequence[int]) -> Kind:
        return "spatial" if is_spatial(shape) else "flat"


def _flattened(material: Material) -> Material:
    def sample(source: torch.Generator) -> tuple[Tensor, Tensor]:
        features, pictures = material.sample(source)
        return features.flatten(1), pictures

    features, pictures = material.validation
    return Material(sample, (features.flatten(1), pictures))


def _shown(group: Group) -> list[int]:
    """Places of up to SHOWN pictures, different subjects first."""
    order: dict[tuple[int, int], int] = {}
    rank: dict[int, int] = {}
    for place, subject in enumerate(group.labels.tolist()):
        rank[subject] = rank.get(subject, -1) + 1
        order[rank[subject], place] = place
    return [order[key] for key in sorted(order)][:SHOWN]
