"""Queries over the rehearsed clouds, and other ways in which S2 comes by the user's half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tests.networks import random_image
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch
from twinveil.errors import BrokenOff
from twinveil.protocol.binding import Claim
from twinveil.protocol.packed.item.s1 import ItemS1
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.online import s2 as online_s2

Items = tuple[list[ItemS1], list[ItemS2]]


def classify(clouds: Opened, pictures: int = 1, label_only: bool = False) -> None:
    clouds.classify(
        np.stack([random_image(clouds.model.plan, each) for each in range(pictures)]), label_only=label_only
    )


@contextmanager
def claiming(patch: Patch, claim: Callable[..., Claim[Any]]) -> Iterator[None]:
    """S2 takes the user's half in another way."""
    query_s2 = online_s2.query_s2

    def query(spend: Any, model: Any, key: Any, shelves: Any, claimed: Any, *rest: Any) -> Any:
        return query_s2(spend, model, key, shelves, partial(claim, claimed), *rest)

    with patch.context() as here:
        here.setattr("twinveil.rehearsal.clouds.packed_s2.query_s2", query)
        yield


def never_comes(claimed: Any, query_id: bytes, check: Any) -> Claim[Any]:
    raise BrokenOff("the user's half did not come in time: ask again")


def free_again(clouds: Opened, before: Items) -> bool:
    """Whether both clouds have all items that they had, whole."""
    return (clouds.items_s1, clouds.items_s2) == before and all(
        item._held for items in before for item in items
    )
