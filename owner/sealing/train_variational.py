"""Trains the variational way: the evidence lower bound, mean of log(p(x, z) / q(z|x)), on binarised faces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from owner.sealing.faces import Faces, Split
from owner.sealing.networks import SIDE, Variational
from owner.sealing.quantise import Quantised
from owner.sealing.training import Batches, Options, seeded
from owner.training.descent import ANOTHER, descend
from twinveil.sealing.factors import Variational as IntegerVariational
from twinveil.sealing.network_files import Network, make_network
from twinveil.sealing.pixels import binarised, grey_square
from twinveil.wording import Telling

EPOCHS = 120
_LOG_TWO_PI = math.log(2 * math.pi)


def train_variational(split: Split, options: Options, facts: dict[str, Any], report: Telling) -> Network:
    """The quantised network; its facts tell how well p(x|z) rebuilds faces that were never learnt from."""
    epochs = options.epochs or EPOCHS
    with seeded(options) as source:
        model = Variational()
        batches = Batches(split.train.squares(SIDE), split.train.people, options)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        bound = 0.0
        for epoch in range(1, epochs + 1):
            bounds = []
            for pixels, _ in batches.epoch(source):
                x = (pixels > pixels.mean(dim=(2, 3), keepdim=True)).float()
                noise = torch.randn(x.shape, generator=source)
                loss = -evidence_lower_bound(x, *model(x, noise)).mean()
                descend(optimizer, loss, hint=ANOTHER)
                bounds.append(-float(loss.detach()))
            bound = float(np.mean(bounds))
            report(epoch, epochs, f"evidence lower bound {bound:.0f}")
        model.eval()
        quantised = Quantised()
        for part in ("trunk", "mean", "log_variance", "decoder"):
            quantised.add(part, getattr(model, part))
    known = facts | {"epochs": epochs, "seed": options.seed, "evidence_lower_bound": round(bound, 2)}
    network = make_network("variational", SIDE, quantised.description(), quantised.tensors, known)
    known["held_out_pixels_right"] = round(pixels_right(network, split.report), 4)
    return make_network("variational", SIDE, quantised.description(), quantised.tensors, known)


def evidence_lower_bound(x: Tensor, logits: Tensor, z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log p(x|z) + log p(z) - log q(z|x) of each picture, for one sample z."""
    likelihood = -functional.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)
    zero = torch.zeros_like(mean)
    return likelihood + _log_normal(z, zero, zero) - _log_normal(z, mean, log_variance)


def pixels_right(network: Network, faces: Faces) -> float:
    """Share of binarised pixels that the factor, computed in integers, puts on the right side of a half."""
    model = IntegerVariational(network)
    rights = []
    for place, picture in enumerate(faces.pictures):
        chances = np.frombuffer(model.compute(picture, place.to_bytes(4, "big")), np.uint8)
        wanted = binarised(grey_square(picture, network.side)).reshape(-1) > 0
        rights.append(np.mean((chances >= 128) == wanted))
    return float(np.mean(rights))


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    densities = -0.5 * (_LOG_TWO_PI + log_variance + (z - mean) ** 2 * torch.exp(-log_variance))
    return densities.flatten(1).sum(1)
