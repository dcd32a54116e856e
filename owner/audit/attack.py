"""Training the attacker: features of sample subjects in, their pictures out; stopped by validation subjects.

Every attack in an audit is this one: on layers, on the picture itself (how strong is the attacker?), on
shuffled features (what is there without any?), and on the clouds' views.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from owner.audit.inverse import Architecture, Inverse, inverse_network
from owner.audit.metrics import ssim
from owner.audit.standard import Standard, ridge
from owner.training.descent import ANOTHER, descend
from owner.training.threads import torch_threads
from twinveil.errors import BadInput

OnBatch = Callable[[int, int], None]
"""(epochs done, epochs at most)"""

_MSE_WEIGHT = 10.0
"""The loss is 1 - SSIM + 10 MSE: both terms are near 0.3 for a mean picture."""

_EPOCH_PICTURES = 240
"""An epoch is as many passes over the samples as it takes to see so many: few samples get as many steps."""

_RIDGE_PASSES = 4
"""Over the (differently distorted) samples, for the linear start to be fitted to."""


@dataclass(frozen=True, slots=True)
class AttackOptions:
    """Raises BadInput for values that cannot be. Equal seeds give equal attackers on one thread."""

    architecture: Architecture = "plain"
    epochs: int = 60
    patience: int = 10
    batch: int = 32
    learning_rate: float = 2e-3
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 10_000:
            raise BadInput(f"epochs must be 1 to 10000, not {self.epochs}")
        if not 0 <= self.seed < 1 << 32:
            raise BadInput("the seed must be a number from 0 to 2^32 - 1")


@dataclass(frozen=True)
class Material:
    """What an attacker learns from. Features (n, ...), pictures (n, channels, height, width) 0 .. 1.

    sample(source): one pass over the samples (never empty), as distorted as they may be, drawn by `source`.
    validation: undistorted.
    """

    sample: Callable[[torch.Generator], tuple[Tensor, Tensor]]
    validation: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Attacker:
    """A trained inverse. history: validation SSIM before training and after each epoch."""

    architecture: Architecture
    network: Inverse
    standard: Standard
    history: tuple[float, ...]
    best_epoch: int

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Pictures (n, channels, height, width) with values 0 .. 1."""
        self.network.eval()
        parts = [self.network(self.standard(part)).clamp(0, 1) for part in torch.split(features, 128)]
        return torch.cat(parts)


def train_attacker(
    material: Material,
    options: AttackOptions,
    *,
    shuffled: bool = False,
    report: OnBatch = lambda done, most: None,
) -> Attacker:
    """Train until validation no longer gains; the best epoch counts.

    shuffled: every picture gets another's features, anew in every pass. What it still gives back is what
    it knows of pictures in general.
    """
    with torch_threads(), torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return _Training(material, options, shuffled).run(report)


class _Training:
    def __init__(self, material: Material, options: AttackOptions, shuffled: bool) -> None:
        self._material, self._options, self._shuffled = material, options, shuffled
        self._source = torch.Generator().manual_seed(options.seed)
        passes = [self._epoch() for _ in range(_RIDGE_PASSES)]
        features, pictures = (torch.cat(parts) for parts in zip(*passes, strict=True))
        self._standard = Standard.of(features)
        given = self._standard(features)
        picture = (pictures.shape[1], pictures.shape[2], pictures.shape[3])
        self._network = inverse_network(given.shape[1:], picture, options.architecture)
        mean, weights = pictures.mean(dim=0), None
        if self._network.linear is not None:
            weights = ridge(given.flatten(1), (pictures - mean).flatten(1), self._checked(), mean)
        self._network.start_from(mean, weights)

    def run(self, report: OnBatch) -> Attacker:
        options, network = self._options, self._network
        history = [self._score()]
        best, kept, best_epoch = history[0], copy.deepcopy(network.state_dict()), 0
        network.begin()
        learned = [each for each in network.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=options.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, options.epochs, options.learning_rate / 50
        )
        for epoch in range(1, options.epochs + 1):
            self._train_epoch(optimizer)
            schedule.step()
            history.append(self._score())
            report(epoch, options.epochs)
            if history[-1] > best:
                best, kept, best_epoch = history[-1], copy.deepcopy(network.state_dict()), epoch
            # The start may be better than anything learned, and learning still be under way.
            if epoch - 1 - int(np.argmax(history[1:])) >= options.patience:
                break
        network.load_state_dict(kept)
        return Attacker(options.architecture, network, self._standard, tuple(history), best_epoch)

    def _epoch(self) -> tuple[Tensor, Tensor]:
        features, pictures = self._material.sample(self._source)
        if self._shuffled:
            features = features[torch.randperm(len(features), generator=self._source)]
        return features, pictures

    def _train_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        self._network.train()
        passes = [self._epoch()]
        while sum(len(given) for given, _ in passes) < _EPOCH_PICTURES:
            passes.append(self._epoch())
        features, pictures = (torch.cat(parts) for parts in zip(*passes, strict=True))
        given = self._standard(features)
        order = torch.randperm(len(given), generator=self._source)
        for places in torch.split(order, self._options.batch):
            made, wanted = self._network(given[places]), pictures[places]
            loss = (1 - ssim(made, wanted)).mean() + _MSE_WEIGHT * (made - wanted).square().mean()
            descend(optimizer, loss, hint=ANOTHER)

    def _checked(self) -> tuple[Tensor, Tensor]:
        """Validation as the network sees it, paired like the samples."""
        features, pictures = self._material.validation
        if self._shuffled:
            features = features.roll(len(features) // 2, dims=0)
        return self._standard(features), pictures

    @torch.no_grad()
    def _score(self) -> float:
        self._network.eval()
        given, pictures = self._checked()
        return float(ssim(self._network(given).clamp(0, 1), pictures).mean())
