"""The whole network as the protocol sees it: S1 asks a Peer, S2 is a Conversation that handles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twinveil.rpc.rounds_pb2 import Round

Ask = Callable[[Round], Round]
"""S1's way to S2: one message, one answer."""


class Peer(Protocol):
    """The other cloud, seen from S1. Used by one thread at a time."""

    def ask(self, message: Round) -> Round:
        """Sends one message and waits for its answer.

        Raises the error that the other side raised, PeerUnavailable when there is no answer in time,
        OutOfOrder once the conversation is over. After any error the conversation is over.
        """
        ...

    def close(self) -> None:
        """Ends the conversation; may be called again."""
        ...


class Conversation(Protocol):
    """One import or one query at S2: a state machine that answers S1's messages, in their order."""

    def handle(self, message: Round) -> Round:
        """The answer to one message. After an error it is never called again."""
        ...

    def close(self) -> None:
        """Frees everything that the conversation holds; called exactly once, whatever happened."""
        ...
