"""What ties the two halves of a query together."""

from __future__ import annotations

from dataclasses import dataclass

from twinveil.rounds.scripted import binding


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

    def fits(self, import_id: bytes, engine: str, pictures: int) -> bool:
        """Whether this query is of the kind that a conversation was opened for (one import has one plan)."""
        return (self.import_id, self.engine, self.pictures) == (import_id, engine, pictures)

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
