"""Trains the adversarial way on pairs of noisy and clear faces, by cross-entropy on both sides.

The discriminator tells clear from derived pictures. The generator's cross-entropy has two terms: of what the
discriminator says, and of each derived pixel against the clear one, which makes the pair count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from owner.sealing.faces import Faces, Split
from owner.sealing.networks import SIDE, Discriminator, Generator
from owner.sealing.quantise import Quantised
from owner.sealing.samples import noisy
from owner.sealing.training import Batches, Options, seeded
from owner.training.descent import ANOTHER, descend
from twinveil.sealing.factors import Adversarial, Form
from twinveil.sealing.integers import COSINE_ONE
from twinveil.sealing.network_files import Network, make_network
from twinveil.wording import Telling

EPOCHS = 30
_PIXEL_WEIGHT = 20.0


def train_adversarial(
    split: Split, options: Options, facts: dict[str, Any], report: Telling, form: Form = "rows"
) -> Network:
    """The quantised generator; its facts tell the mean similarity for faces that were never learnt from."""
    epochs = options.epochs or EPOCHS
    with seeded(options) as source:
        generator, discriminator = Generator(), Discriminator()
        batches = Batches(split.train.squares(SIDE), split.train.people, options)
        makers = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.5, 0.999))
        judges = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.999))
        for epoch in range(1, epochs + 1):
            losses = []
            for pixels, _ in batches.epoch(source):
                clear = pixels / 127.5 - 1
                derived = generator(noisy(clear, source))
                descend(
                    judges, judgement(discriminator(clear), discriminator(derived.detach())), hint=ANOTHER
                )
                losses.append(_make(generator_loss(discriminator(derived), derived, clear), makers))
            report(epoch, epochs, f"generator's cross-entropy {np.mean(losses):.3f}")
        generator.eval()
        quantised = Quantised().add("generator", generator.layers)
    known = facts | {"epochs": epochs, "seed": options.seed, "form": form}
    network = make_network("adversarial", SIDE, quantised.description(), quantised.tensors, known)
    known["held_out_similarity"] = round(mean_similarity(network, split.report), 4)
    return make_network("adversarial", SIDE, quantised.description(), quantised.tensors, known)


def judgement(real: Tensor, derived: Tensor) -> Tensor:
    """The discriminator's cross-entropy: clear pictures are real, derived ones are not."""
    return functional.binary_cross_entropy_with_logits(
        real, torch.ones_like(real)
    ) + functional.binary_cross_entropy_with_logits(derived, torch.zeros_like(derived))


def generator_loss(verdict: Tensor, derived: Tensor, clear: Tensor) -> Tensor:
    """Cross-entropy of the verdict against "real", and of pixels, as chances of white, against the clear."""
    deceived = functional.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))
    chances = ((derived + 1) / 2).clamp(1e-4, 1 - 1e-4)
    alike = functional.binary_cross_entropy(chances, ((clear + 1) / 2).clamp(0, 1))
    return deceived + _PIXEL_WEIGHT * alike


def mean_similarity(network: Network, faces: Faces) -> float:
    """The mean cosine of derived and original pictures, computed in integers."""
    model = Adversarial(network)
    values = [
        float(model.similarity(picture, place.to_bytes(4, "big")).mean()) / COSINE_ONE
        for place, picture in enumerate(faces.pictures)
    ]
    return float(np.mean(values))


def _make(loss: Tensor, makers: torch.optim.Optimizer) -> float:
    descend(makers, loss, hint=ANOTHER)
    return float(loss.detach())
