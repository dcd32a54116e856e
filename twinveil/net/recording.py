"""Each cloud's view of a conversation, written down as it comes: S1's is the replies, S2's the requests.

A view file is a run of records: nanoseconds since the conversation began (8 bytes), length (4 bytes),
serialised Round; integers big endian. It holds what one cloud saw of one conversation, and is as
confidential as that.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadInput
from twinveil.net.chunks import parse
from twinveil.net.peer import Conversation, Peer
from twinveil.rpc.rounds_pb2 import Round

_HEAD = struct.Struct(">QI")


@dataclass(frozen=True, slots=True)
class Received:
    """One message that a cloud received, and when, in seconds since its conversation began."""

    seconds: float
    message: Round


class View:
    """Writes one view file, mode 0600; never overwrites one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._begin = time.monotonic_ns()

    def write(self, message: Round) -> None:
        data = message.SerializeToString()
        self._file.write(_HEAD.pack(time.monotonic_ns() - self._begin, len(data)) + data)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_view(path: Path) -> Iterator[Received]:
    """The messages of a view file, in order. Raises BadInput if the file is damaged."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise BadInput(f"{path}: the view ends within a record")
            nanoseconds, length = _HEAD.unpack(head)
            data = file.read(length)
            if len(data) < length:
                raise BadInput(f"{path}: the view ends within a record")
            yield Received(nanoseconds / 1e9, parse(data))


class RecordingPeer:
    """A Peer that writes down S1's view: every reply."""

    def __init__(self, peer: Peer, view: View) -> None:
        self._peer = peer
        self._view = view

    def ask(self, message: Round) -> Round:
        reply = self._peer.ask(message)
        self._view.write(reply)
        return reply

    def close(self) -> None:
        self._view.close()
        self._peer.close()


class RecordingConversation:
    """A Conversation that writes down S2's view: every request."""

    def __init__(self, conversation: Conversation, view: View) -> None:
        self._conversation = conversation
        self._view = view

    def handle(self, message: Round) -> Round:
        self._view.write(message)
        return self._conversation.handle(message)

    def close(self) -> None:
        self._view.close()
        self._conversation.close()
