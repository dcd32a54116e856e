"""Trains the recogniser to keep people apart (CosFace: a margin between cosines), and chooses its threshold.

It learns from some people, the threshold is chosen on others, and the rates are reported of a third lot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from owner.sealing.faces import Faces, Split
from owner.sealing.networks import FACE_SIDE, FEATURES, Recogniser
from owner.sealing.quantise import Quantised
from owner.sealing.rates import choose_threshold, rates, scores
from owner.sealing.training import STRONG, Batches, Options, seeded
from owner.training.descent import ANOTHER, descend
from twinveil.errors import BadInput
from twinveil.sealing.features import Recogniser as IntegerRecogniser
from twinveil.sealing.integers import Integers
from twinveil.sealing.network_files import Network, make_network
from twinveil.wording import Telling

EPOCHS = 200
_SCALE, _MARGIN = 16.0, 0.2


def train_recogniser(split: Split, options: Options, facts: dict[str, Any], report: Telling) -> Network:
    """The quantised recogniser with its threshold; its facts have the rates on both lots of strangers."""
    epochs = options.epochs or EPOCHS
    names, labels = np.unique(split.train.people, return_inverse=True)
    with seeded(options) as source:
        model, directions = Recogniser(), nn.Parameter(torch.randn(len(names), FEATURES))
        batches = Batches(split.train.squares(FACE_SIDE), labels.astype(np.int64), options, STRONG)
        optimizer = torch.optim.AdamW([*model.parameters(), directions], lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for epoch in range(1, epochs + 1):
            losses = []
            for pixels, people in batches.epoch(source):
                loss = cosine_margin(model(normal(lit(pixels, source))), directions, people)
                descend(optimizer, loss, hint=ANOTHER)
                losses.append(float(loss.detach()))
            schedule.step()
            report(epoch, epochs, f"loss {np.mean(losses):.3f}")
        model.eval()
        quantised = Quantised().add("features", model.layers)
    known = facts | {"epochs": epochs, "seed": options.seed, "threshold": 1}
    draft = make_network("recogniser", FACE_SIDE, quantised.description(), quantised.tensors, known)
    chosen = scores(features(draft, split.choose), split.choose)
    known["threshold"] = choose_threshold(*chosen)
    reported = scores(features(draft, split.report), split.report)
    for name, found, faces in (("chosen_on", chosen, split.choose), ("reported_on", reported, split.report)):
        count = len(np.unique(faces.people))
        known[name] = rates(*found, threshold=known["threshold"], people=count).to_dict()
    return make_network("recogniser", FACE_SIDE, quantised.description(), quantised.tensors, known)


def features(network: Network, faces: Faces) -> list[Integers]:
    """Of every face, by integer inference."""
    recogniser = IntegerRecogniser(network)
    return [recogniser.features(picture) for picture in faces.pictures]


def normal(pixels: Tensor) -> Tensor:
    """As twinveil.sealing.pixels.normalised, in real numbers."""
    centred = pixels - pixels.mean(dim=(2, 3), keepdim=True)
    return (centred / centred.std(dim=(2, 3), keepdim=True).clamp_min(1.0)).clamp(-4, 4)


def lit(pixels: Tensor, source: torch.Generator) -> Tensor:
    """Light from a random side: a linear ramp over the picture of up to 40 grey levels."""
    side = pixels.shape[-1]
    ramp = torch.linspace(-1, 1, side)
    strength = (torch.rand(2, len(pixels), 1, 1, 1, generator=source) * 2 - 1) * 40
    return pixels + strength[0] * ramp.view(1, 1, 1, side) + strength[1] * ramp.view(1, 1, side, 1)


def cosine_margin(vectors: Tensor, directions: Tensor, people: Tensor) -> Tensor:
    """Cross-entropy of scaled cosines, the right one made smaller by a margin (Wang et al. 2018)."""
    if len(directions) < 2:
        raise BadInput("a recogniser needs at least two people to learn from")
    cosines = functional.normalize(vectors) @ functional.normalize(directions).T
    margins = _MARGIN * functional.one_hot(people, len(directions))
    return functional.cross_entropy(_SCALE * (cosines - margins), people)
