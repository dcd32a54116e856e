"""The network without a network: S1's Peer over S2's Conversation in one process.

Messages are serialised, cut, put together and parsed exactly as on the wire, so nothing is shared by
reference, and errors arrive as they do from afar: same type, one line.
"""

from __future__ import annotations

from twinveil.errors import OutOfOrder
from twinveil.rounds.chunks import MESSAGE_BYTES, Assembler, cut
from twinveil.rounds.peer import Conversation
from twinveil.rpc.rounds_pb2 import Round
from twinveil.wording import sanitised


class MemoryPeer:
    """A Peer that hands every message to a Conversation in the same process."""

    def __init__(self, conversation: Conversation, most: int = MESSAGE_BYTES) -> None:
        self._conversation = conversation
        self._sequence = 0
        self._requests = Assembler(most)
        self._replies = Assembler(most)
        self._closed = False

    def ask(self, message: Round) -> Round:
        if self._closed:
            raise OutOfOrder("the conversation is over")
        try:
            request = self._carry(message, self._requests)
            reply = self._carry(self._conversation.handle(request), self._replies)
        except Exception as error:
            self.close()
            raise sanitised(error) from error
        self._sequence += 1
        return reply

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._conversation.close()

    def _carry(self, message: Round, assembler: Assembler) -> Round:
        for chunk in cut(message.SerializeToString(), self._sequence):
            arrived = assembler.add(type(chunk).FromString(chunk.SerializeToString()))
            if arrived is not None:
                return arrived
        raise OutOfOrder("a message without an end")
