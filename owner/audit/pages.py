"""Where in a long stream an attacker looks: the pages that go with the pictures of its own samples.

What one message gives away would drown in all that a cloud receives. So the attacker compares every page
with the pictures that it knows: are queries alike there whose pictures are alike? It learns from the pages
where they are most (alignment of centred Gram matrices: Cortes, Mohri and Rostamizadeh 2012). Neither
validation nor targets take part in the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinveil.pictures.files import Picture

PAGE = 256
"""Numbers of a page."""

PAGES = 8
"""Pages that are kept: a picture of 32 x 32 lies in five at most."""

Stream = npt.NDArray[np.uint8]


def telling_pages(streams: Sequence[Stream], pictures: Picture) -> Tensor:
    """Features (n, at most PAGES * PAGE) of streams (n, numbers) each, the first of the n being the samples.

    pictures: of the samples, (samples, channels, height, width).
    """
    samples = len(pictures)
    wanted = _gram(torch.from_numpy(pictures).float().flatten(1))
    pages = [stream[:, at : at + PAGE] for stream in streams for at in range(0, stream.shape[1], PAGE)]
    scores = [float((_gram(torch.from_numpy(page[:samples]).float()) * wanted).sum()) for page in pages]
    best = sorted(np.argsort(scores)[-PAGES:].tolist())
    return torch.cat([torch.from_numpy(pages[place]).float() for place in best], dim=1)


def _gram(rows: Tensor) -> Tensor:
    """How alike any two different rows (n, numbers) are: mean 0, norm 1 (or 0, if all are equally alike)."""
    centred = rows - rows.mean(dim=0)
    products = centred @ centred.T
    others = ~torch.eye(len(rows), dtype=torch.bool)
    products = (products - products[others].mean()) * others
    alike: Tensor = products / products.norm().clamp(min=1e-6)
    return alike
