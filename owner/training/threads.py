"""How many threads torch takes for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int = 1) -> Iterator[None]:
    """torch with that many threads; as it was before afterwards.

    Layers as small as ours gain nothing from a second one, on a busy machine they wait for each other, and
    with one the results are the same everywhere.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
