"""What ties the two halves of a query together, and the halves of its answer.

A vector's half is one unsigned 32-bit big-endian word for each class of each picture, a label's half one for
each picture; vector = S2's words - S1's words modulo 2^L, label = S2's word xor S1's word.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinveil.protocol.shares import Words
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


def answer_bytes(words: Words) -> bytes:
    """(classes, pictures) or (1, pictures) -> wire form, picture by picture."""
    return words.T.astype(">u4").tobytes()
