"""The audit: how strong is the attacker, what does each layer give away, what do the clouds' views.

strengths  the attacker must be able to copy the picture itself, or no low risk is believed
layers     attack and shuffled attack on every layer asked for
views      attack on what each cloud saw, with a control that shows the picture
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from owner.audit.attack import Attacker, AttackOptions, Material, train_attacker
from owner.audit.evaluation import Comparison, Targets
from owner.audit.features import PICTURE, SCORES, Extractor
from owner.audit.findings import (
    AttackedFeatures,
    AttackerStrength,
    AuditOptions,
    Inverted,
    Kind,
    ViewAttacked,
    kind_of,
)
from owner.audit.material import LayerMaterial, scaled
from owner.audit.metrics import ssim
from owner.audit.permutation import p_value
from owner.audit.subjects import Split, SubjectGroup
from owner.audit.views import Recorded, RecordedArrays, ViewFeatures, views
from owner.training.threads import torch_threads
from twinveil.errors import BadInput
from twinveil.pictures.masks import Mask
from twinveil.wording import Telling


class Inversion:
    """One audit of one network on one split. Raises BadInput, before any training, for what cannot be.

    mask: the one that the network was trained for. Features are then of covered pictures, and what is rebuilt
    of them is compared with whole ones.
    """

    def __init__(
        self, network: nn.Module, split: Split, options: AuditOptions, mask: Mask | None = None
    ) -> None:
        channels, height, width = split.target.pictures.shape[1:]
        self._extractor = Extractor(network, (channels, height, width), mask)
        self._whole = Extractor(network, (channels, height, width))
        self._mask = mask
        if self._extractor.classes != len(split.class_names):
            raise BadInput(
                f"the model tells {self._extractor.classes} classes apart, data set {split.name} has "
                f"{len(split.class_names)}: audit a model on the data that it recognises"
            )
        self._layers = options.layers or self._extractor.default_layers()
        self._extractor.check(self._layers)
        self._split, self._options = split, options
        self._mean = scaled(split.sample.pictures).mean(dim=0, keepdim=True)

    def run(
        self,
        recorded: Recorded | None = None,
        seen: RecordedArrays | None = None,
        step: Telling = lambda done, most, what: None,
    ) -> Inverted:
        """recorded and seen: the queries behind the clouds' views, and the views; neither: layers only."""
        kinds = sorted({kind_of(self._extractor.shapes[name]) for name in self._layers})
        cloud_views = views(seen, recorded.sample.pictures) if seen is not None and recorded else []
        attacks = len(kinds) + 2 * len(self._layers) + 4 * len(cloud_views)
        trainer = _Trainer(self._options, attacks, step)
        with torch_threads():
            strengths = {kind: self._strength(kind, trainer) for kind in kinds}
            layers = tuple(self._layer(name, strengths, trainer) for name in self._layers)
            attacked = tuple(self._view(v, recorded, trainer) for v in cloud_views) if recorded else ()
            accuracy = self._measured_by(self._split.target).recognised()
        return Inverted(
            self._split,
            self._options,
            accuracy,
            self._mean,
            tuple(strengths.values()),
            layers,
            attacked,
            recorded,
            int(seen["key_bits"][0]) if seen is not None else None,
            self._mask,
        )

    def _strength(self, kind: Kind, trainer: _Trainer) -> AttackerStrength:
        """The identity layer, with places or without. Nothing is covered: this measures the attacker."""
        layer = LayerMaterial(self._whole, PICTURE, self._split)
        material, (features, pictures) = layer.material(), layer.pair(self._split.target)
        if kind == "flat":
            material, features = _flattened(material), features.flatten(1)
        attacker = trainer.train(material, f"attacker's strength, {kind}")
        return AttackerStrength(kind, float(ssim(attacker(features), pictures).mean()))

    def _layer(
        self, name: str, strengths: dict[Kind, AttackerStrength], trainer: _Trainer
    ) -> AttackedFeatures:
        layer = LayerMaterial(self._extractor, name, self._split)
        features, _ = layer.pair(self._split.target)
        strong_enough = strengths[kind_of(self._extractor.shapes[name])].passed
        targets = self._measured_by(self._split.target)
        return self._attack(name, layer.material(), features, targets, trainer, strong_enough)

    def _view(self, view: ViewFeatures, recorded: Recorded, trainer: _Trainer) -> ViewAttacked:
        targets = self._measured_by(recorded.target)

        def attack(name: str, features: Tensor) -> tuple[AttackedFeatures, float]:
            material, attacked = recorded.material(features)
            found = self._attack(name, material, attacked, targets, trainer)
            return found, p_value(found.made, targets.pictures, self._options.attack.seed)

        (masked, p), (control, control_p) = (
            attack(view.name, view.features),
            attack(f"{view.name}, {view.in_clear}", view.control),
        )
        return ViewAttacked(view.cloud, masked, control, p, control_p, view.in_clear)

    def _attack(
        self,
        name: str,
        material: Material,
        features: Tensor,
        targets: Targets,
        trainer: _Trainer,
        strong_enough: bool = True,
    ) -> AttackedFeatures:
        """features: of the targets."""
        begun = time.monotonic()
        attacker = trainer.train(material, name)
        shuffled = trainer.train(material, f"{name}, shuffled", shuffled=True)
        made, made_shuffled = attacker(features), shuffled(features)
        comparison = Comparison(
            targets.measure(made), targets.measure(self._mean), targets.measure(made_shuffled)
        )
        risk = comparison.risk(targets, self._options.attack.seed)
        return AttackedFeatures(
            name,
            tuple(features.shape[1:]),
            attacker.architecture,
            comparison,
            risk,
            self._options.thresholds.level(risk, strong_enough),
            attacker.history,
            attacker.best_epoch,
            time.monotonic() - begun,
            made,
            made_shuffled,
        )

    def _measured_by(self, group: SubjectGroup) -> Targets:
        return Targets(group, lambda given: self._extractor(given, SCORES))


class _Trainer:
    """Trains one attacker after the other, and says how far it is."""

    def __init__(self, options: AuditOptions, attacks: int, step: Telling) -> None:
        self._options, self._step = options, step
        self._done, self._most = 0, attacks * len(options.attackers)

    def train(self, material: Material, what: str, *, shuffled: bool = False) -> Attacker:
        """The attacker that does best on validation, of the architectures asked for."""
        return max(
            (
                self._train(material, replace(self._options.attack, architecture=each), what, shuffled)
                for each in self._options.attackers
            ),
            key=lambda attacker: max(attacker.history),
        )

    def _train(self, material: Material, options: AttackOptions, what: str, shuffled: bool) -> Attacker:
        def report(epoch: int, _most: int) -> None:
            self._step(self._done, self._most, f"{what}, epoch {epoch}")

        self._step(self._done, self._most, what)
        attacker = train_attacker(material, options, shuffled=shuffled, report=report)
        self._done += 1
        return attacker


def _flattened(material: Material) -> Material:
    def sample(source: torch.Generator) -> tuple[Tensor, Tensor]:
        features, pictures = material.sample(source)
        return features.flatten(1), pictures

    features, pictures = material.validation
    return Material(sample, (features.flatten(1), pictures))
