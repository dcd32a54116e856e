"""Peers that stand between the clouds and misbehave, or only watch."""

from __future__ import annotations

from collections.abc import Callable

from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb


class Between:
    """A Peer over a Peer; passes everything on."""

    def __init__(self, inner: Peer) -> None:
        self.inner = inner

    def ask(self, message: pb.Round) -> pb.Round:
        return self.inner.ask(message)

    def close(self) -> None:
        self.inner.close()


class Twice(Between):
    """Sends every message twice and keeps both replies."""

    def __init__(self, inner: Peer) -> None:
        super().__init__(inner)
        self.replies: list[tuple[pb.Round, pb.Round]] = []

    def ask(self, message: pb.Round) -> pb.Round:
        self.replies.append((self.inner.ask(message), self.inner.ask(message)))
        return self.replies[-1][0]


class At(Between):
    """Does `act` with the message of one number instead of passing it on."""

    def __init__(self, inner: Peer, number: int, act: Callable[[Peer, pb.Round], pb.Round]) -> None:
        super().__init__(inner)
        self._number, self._act, self._count = number, act, 0

    def ask(self, message: pb.Round) -> pb.Round:
        self._count += 1
        if self._count - 1 == self._number:
            return self._act(self.inner, message)
        return self.inner.ask(message)


class Watching(Between):
    """Keeps every message and reply."""

    def __init__(self, inner: Peer) -> None:
        super().__init__(inner)
        self.requests: list[pb.Round] = []
        self.replies: list[pb.Round] = []

    def ask(self, message: pb.Round) -> pb.Round:
        self.requests.append(message)
        self.replies.append(self.inner.ask(message))
        return self.replies[-1]

    @property
    def kind(self) -> str:
        """Of the conversation, by its first message."""
        return str(self.requests[0].WhichOneof("body"))

    def shape(self) -> list[tuple[str, int]]:
        """What an onlooker sees: kinds and sizes, in order, both ways."""
        both = [each for pair in zip(self.requests, self.replies, strict=True) for each in pair]
        return [(str(each.WhichOneof("body")), each.ByteSize()) for each in both]
