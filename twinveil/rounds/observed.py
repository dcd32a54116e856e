"""Both ends of a conversation with an observer in between: it is told of every message, when it comes."""

from __future__ import annotations

from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Conversation, Peer
from twinveil.rpc.rounds_pb2 import Round


class ObservedPeer:
    """A Peer that S1's observer watches."""

    def __init__(self, peer: Peer, observer: Observer) -> None:
        self._peer = peer
        self._observer = observer

    def ask(self, message: Round) -> Round:
        self._observer.sent(message)
        reply = self._peer.ask(message)
        self._observer.received(reply)
        return reply

    def close(self) -> None:
        self._observer.close()
        self._peer.close()


class ObservedConversation:
    """A Conversation that S2's observer watches."""

    def __init__(self, conversation: Conversation, observer: Observer) -> None:
        self._conversation = conversation
        self._observer = observer

    def handle(self, message: Round) -> Round:
        self._observer.received(message)
        reply = self._conversation.handle(message)
        self._observer.sent(reply)
        return reply

    def close(self) -> None:
        self._observer.close()
        self._conversation.close()
