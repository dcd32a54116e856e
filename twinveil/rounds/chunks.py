"""A Round as a run of chunks of at most 1 MiB, and back, with every limit checked before memory is spent.

Round -> serialise -> Chunk(sequence 0, part 0) Chunk(0, 1) ... Chunk(0, k, last) -> parse -> Round
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from twinveil.errors import InvalidMessage, OutOfOrder, TooMuch
from twinveil.rpc.rounds_pb2 import Chunk, Round

CHUNK_BYTES = 1 << 20
MESSAGE_BYTES = 128 << 20
"""Of one serialised Round, at most. How many there are in a conversation is for its script to say: a plan's
steps, or as many items as there is memory for."""


def cut(data: bytes, sequence: int) -> Iterator[Chunk]:
    """The chunks of one serialised Round, made one at a time."""
    view = memoryview(data)
    parts = max(1, -(-len(view) // CHUNK_BYTES))
    for part in range(parts):
        piece = view[part * CHUNK_BYTES : (part + 1) * CHUNK_BYTES]
        yield Chunk(sequence=sequence, part=part, data=bytes(piece), last=part == parts - 1)


def parse(data: bytes) -> Round:
    """A Round from its serialised form. Raises InvalidMessage if it is none, or one without a body."""
    try:
        message = Round.FromString(data)
    except DecodeError:
        raise InvalidMessage("a message of the conversation is damaged") from None
    if message.WhichOneof("body") is None:
        raise InvalidMessage("a message of the conversation is empty or of an unknown kind")
    return message


class Assembler:
    """Puts the chunks of one direction of a conversation together, one Round after the other.

    most: bytes of a Round.
    """

    def __init__(self, most: int = MESSAGE_BYTES) -> None:
        self._most = most
        self._sequence = 0
        self._size = 0
        self._data: list[bytes] = []

    def add(self, chunk: Chunk) -> Round | None:
        """Takes the next chunk; returns the Round that it completes, or None.

        Raises OutOfOrder for a chunk that is not the next one, TooMuch past a limit, InvalidMessage for a
        malformed chunk or Round.
        """
        if (chunk.sequence, chunk.part) != (self._sequence, len(self._data)):
            raise OutOfOrder(
                f"expected part {len(self._data)} of message {self._sequence}, "
                f"got part {chunk.part} of message {chunk.sequence}"
            )
        data = chunk.data  # a fresh copy each time it is asked for
        if len(data) > CHUNK_BYTES:
            raise TooMuch(f"a chunk of {len(data)} bytes: at most {CHUNK_BYTES} are allowed")
        if len(data) < CHUNK_BYTES and not chunk.last:
            raise InvalidMessage("a chunk that is not the last of its message must be full")
        self._size += len(data)
        if self._size > self._most:
            raise TooMuch(f"a message of more than {self._most} bytes")
        self._data.append(data)
        if not chunk.last:
            return None
        whole = b"".join(self._data)
        self._sequence, self._size, self._data = self._sequence + 1, 0, []
        return parse(whole)
