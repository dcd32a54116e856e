"""The rehearsed clouds taken apart: every message, both clouds' items, the pictures of the last query."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.crypto.crypto_keys import secret_key
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.packed.item.s1 import ItemS1
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.model.s1 import ModelS1
from twinveil.protocol.packed.model.s2 import ModelS2
from twinveil.protocol.packed.online import s1 as online_s1
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.protocol.packed.online.s1 import PicturesS1
from twinveil.protocol.packed.online.s2 import PicturesS2
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.rehearsal.clouds import Answered, Clouds
from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import Script
from twinveil.rpc import rounds_pb2 as pb

Meddle = Callable[[pb.Round], pb.Round]
"""What becomes of a message on its way."""


class Opened(Clouds):
    """halves: what the owner sends, instead of what an honest one sends. Others: as `Clouds` has them."""

    def __init__(
        self,
        model: QuantisedModel,
        key_bits: int = 512,
        *,
        halves: tuple[bytes, bytes] | None = None,
        meddle: Meddle = lambda message: message,
        **others: Any,
    ) -> None:
        self._halves = halves
        self._begin(meddle)
        super().__init__(model, secret_key(key_bits), **others)

    def _begin(self, meddle: Meddle) -> None:
        self.meddle = meddle
        self.messages: list[pb.Round] = []
        """All that passed, requests and replies in turn."""
        self.pictures_s1: list[PicturesS1] = []
        self.pictures_s2: list[PicturesS2] = []
        """Of all queries."""

    def anew(self) -> Opened:
        """The same model at clouds that have no item yet."""
        clouds = copy.copy(self)
        clouds._begin(lambda message: message)
        clouds.shelves = Shelves()
        clouds._items, clouds._maker, clouds._making = [], None, None
        return clouds

    def blinded(self) -> tuple[bytes, bytes]:
        return self._halves or super().blinded()

    def peer(self, script: Callable[[pb.Round], Script], s1: Observer, s2: Observer) -> Peer:
        return _Meddling(self, super().peer(script, s1, s2))

    def classify(self, *query: Any, **options: Any) -> Answered:
        with pytest.MonkeyPatch.context() as patch:
            _keep(patch, online_s1, "PicturesS1", self.pictures_s1)
            _keep(patch, online_s2, "PicturesS2", self.pictures_s2)
            return super().classify(*query, **options)

    @property
    def of_s1(self) -> ModelS1:
        assert self.s1.packed
        return self.s1.packed

    @property
    def of_s2(self) -> ModelS2:
        assert self.s2.packed
        return self.s2.packed

    @property
    def plan(self) -> ItemPlan:
        return self.layouts.packed.items

    @property
    def items_s1(self) -> list[ItemS1]:
        """Not yet spent."""
        return self._items

    @property
    def items_s2(self) -> list[ItemS2]:
        """Free."""
        shelves = self.shelves._shelves.values()
        return [item for shelf in shelves for item, _ in shelf.items.values()]

    def steps(self) -> list[str | None]:
        """What passed since the last time."""
        passed, self.messages = self.messages, []
        return [message.WhichOneof("body") for message in passed]


class _Meddling:
    def __init__(self, clouds: Opened, peer: Peer) -> None:
        self._clouds = clouds
        self._peer = peer

    def ask(self, message: pb.Round) -> pb.Round:
        return self._pass(self._peer.ask(self._pass(message)))

    def close(self) -> None:
        self._peer.close()

    def _pass(self, message: pb.Round) -> pb.Round:
        passed = self._clouds.meddle(message)
        self._clouds.messages.append(passed)
        return passed


def _keep(patch: pytest.MonkeyPatch, where: Any, name: str, kept: list[Any]) -> None:
    """Keeps all of these that are made."""
    made = getattr(where, name)

    def keeping(*arguments: Any, **options: Any) -> Any:
        kept.append(made(*arguments, **options))
        return kept[-1]

    patch.setattr(where, name, keeping)
