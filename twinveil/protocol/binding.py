"""What both clouds must mean alike: a query's head, a model's layout."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twinveil.errors import NotAllowed, PeerMismatch
from twinveil.rounds.scripted import binding
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True, slots=True)
class QueryHead:
    """What a client says of its query to each cloud, in public. client: the identity in its certificate."""

    query_id: bytes
    client: str
    import_id: bytes
    plan_hash: bytes
    engine: str
    label_only: bool
    pictures: int

    def check(self, bind: pb.Bind, import_id: bytes, engine: str, pictures: int, policy: bool) -> None:
        """Raises unless S1 means this very query, and it is of the kind that it is to be computed as.

        policy: whether the owner gives out labels alone.
        """
        if not hmac.compare_digest(bind.binding, self.binding()) or bind.label_only != self.label_only:
            raise PeerMismatch("the user told the two clouds different things about this query")
        if (self.import_id, self.engine, self.pictures) != (import_id, engine, pictures):
            raise PeerMismatch("this conversation was opened for another kind of query")
        if policy and not self.label_only:
            raise NotAllowed("the owner allows only the label of this model: ask for the label only")

    def bind(self) -> pb.Bind:
        """S1's word to S2 of which query it is."""
        return pb.Bind(query_id=self.query_id, binding=self.binding(), label_only=self.label_only)

    def binding(self) -> bytes:
        """Of all fields."""
        return binding(
            b"twinveil query",
            self.query_id,
            self.client.encode(),
            self.import_id,
            self.plan_hash,
            self.engine.encode(),
            bytes([self.label_only]),
            self.pictures.to_bytes(4, "big"),
        )


Half = TypeVar("Half")


@dataclass(frozen=True)
class Claim(Generic[Half]):
    """A user's query as it lies at S2, taken by exactly one conversation.

    half: S2's of the pictures, checked. deliver: gives the waiting user S2's half of the answer.
    """

    head: QueryHead
    half: Half = field(repr=False)
    deliver: Callable[[bytes], None]


Claiming = Callable[[bytes, Callable[[QueryHead], None]], Claim[Half]]
"""Waits for the half of the query of this id, and takes it unless the check raises: then the half stays for
the conversation that it belongs to."""


def check_layout(opening: pb.OpenImport, engine: str, digest: bytes) -> None:
    """Raises PeerMismatch unless S1 means the import that the owner described to S2."""
    if opening.engine != engine or not hmac.compare_digest(opening.layout, digest):
        raise PeerMismatch(
            "the owner told the two clouds different plans or engines, or they run different versions of "
            "Twinveil: install the same version on both and outsource the model again"
        )


def refuse_another_layout(found: bytes, digest: bytes) -> None:
    """Raises PeerMismatch unless S1 lays a stored model out as S2 does."""
    if not hmac.compare_digest(found, digest):
        raise PeerMismatch(
            "cloud_s1 lays this model out in another way: install the same version of Twinveil on both clouds"
        )
