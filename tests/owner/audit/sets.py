"""Small data sets and networks for the audit's tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from owner.training.datasets import DataSet, load_data_set
from owner.training.icnn import ICNN, TINY


def people(count: int, shots: int = 6, side: int = 12) -> DataSet:
    """`count` people: each a smooth pattern of its own, each shot a little different."""
    source = np.random.default_rng(1)
    coarse = source.random((count, 1, 4, 4))
    faces = nn.functional.interpolate(torch.from_numpy(coarse), side, mode="bicubic").clamp(0, 1).numpy()
    noise = source.normal(0, 0.03, (count, shots, 1, side, side))
    pictures = (np.clip(faces[:, None] + noise, 0, 1) * 255).astype(np.uint8).reshape(-1, 1, side, side)
    labels = np.repeat(np.arange(count), shots)
    shot = np.tile(np.arange(shots), count)
    train = shot > 0
    names = tuple(f"p{i}" for i in range(count))
    return DataSet("people", pictures[train], labels[train], pictures[~train], labels[~train], names, "any")


def digits(side: int = 12) -> DataSet:
    return load_data_set("digits", (1, side, side))


def untrained(data: DataSet) -> ICNN:
    torch.manual_seed(1)
    return ICNN(data.image_shape, len(data.class_names), TINY, batch_norm=False).eval()
