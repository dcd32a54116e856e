"""Rounds.Converse at both ends: GrpcPeer for S1, RoundsServicer for S2. One stream is one conversation.

S1  ask(message) --chunks-->  handle(message)  S2
    reply        <--chunks--
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import grpc

from twinveil.errors import OutOfOrder, PeerUnavailable, TwinveilError
from twinveil.rounds.chunks import MESSAGE_BYTES, Assembler, cut
from twinveil.rounds.peer import Conversation
from twinveil.rpc.rounds_pb2 import Chunk, Round
from twinveil.rpc.rounds_pb2_grpc import RoundsServicer as RoundsBase
from twinveil.rpc.rounds_pb2_grpc import RoundsStub, add_RoundsServicer_to_server
from twinveil.transport.identity import PeerIdentity, caller
from twinveil.transport.status import from_rpc_error

CLOSING_SECONDS = 2.0


class GrpcPeer:
    """A Peer over a channel to S2. Each ask has to be answered within `deadline` seconds.

    ended: called once, when the conversation is over for this side, however it ended, with whether the other
    side was out of reach: its channel may then be one that waits before it tries again.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        deadline: float,
        most: int = MESSAGE_BYTES,
        name: str = "cloud_s2",
        ended: Callable[[bool], None] = lambda lost: None,
    ) -> None:
        self._deadline = deadline
        self._name = name
        self._ended = ended
        self._sequence = 0
        self._over = False
        self._lost = False
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Round | TwinveilError] = queue.SimpleQueue()
        self._replies = Assembler(most)
        self._call = RoundsStub(channel).Converse(self._outgoing())
        self._reader = threading.Thread(target=self._read, name="rounds-reader", daemon=True)
        self._reader.start()

    def ask(self, message: Round) -> Round:
        if self._over:
            raise OutOfOrder("the conversation is over")
        self._outbox.put(message.SerializeToString())
        self._sequence += 1
        try:
            answer = self._inbox.get(timeout=self._deadline)
        except queue.Empty:
            self._lost = True
            answer = PeerUnavailable(f"{self._name} did not answer within {self._deadline:g} s")
        if isinstance(answer, TwinveilError):
            self._end()
            raise answer
        return answer

    @property
    def left(self) -> bool:
        """Whether the other side has ended the conversation; asked between two messages."""
        return self._over or not self._inbox.empty()

    def close(self) -> None:
        if not self._over:
            self._outbox.put(None)
            self._reader.join(CLOSING_SECONDS)
            self._end()

    def _end(self) -> None:
        self._over = True
        self._outbox.put(None)
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._ended(self._lost)

    def _outgoing(self) -> Iterator[Chunk]:
        sequence = 0
        while (data := self._outbox.get()) is not None:
            yield from cut(data, sequence)
            sequence += 1

    def _read(self) -> None:
        """Runs in its own thread: a blocking read has no deadline, a queue has."""
        try:
            answered = 0
            for chunk in self._call:
                message = self._replies.add(chunk)
                if message is not None:
                    answered += 1
                    if answered > self._sequence:
                        raise OutOfOrder(f"{self._name} sent an answer that nobody asked for")
                    self._inbox.put(message)
            self._inbox.put(PeerUnavailable(f"{self._name} ended the conversation"))
        except grpc.RpcError as error:
            self._lost = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE
            self._inbox.put(from_rpc_error(error, self._name))
        except TwinveilError as error:
            self._inbox.put(error)


class RoundsServicer(RoundsBase):
    """S2's end: opens a Conversation for every stream and closes it when the stream ends, however it ends."""

    service_name = "twinveil.rpc.Rounds"

    def __init__(
        self, open_conversation: Callable[[PeerIdentity], Conversation], most: int = MESSAGE_BYTES
    ) -> None:
        self._open = open_conversation
        self._most = most

    def register(self, server: grpc.Server) -> None:
        add_RoundsServicer_to_server(self, server)

    def Converse(self, request_iterator: Iterator[Chunk], context: grpc.ServicerContext) -> Iterator[Chunk]:
        requests = Assembler(self._most)
        sequence = 0
        with closing(self._open(caller(context))) as conversation:
            for chunk in request_iterator:
                message = requests.add(chunk)
                if message is None:
                    continue
                yield from cut(conversation.handle(message).SerializeToString(), sequence)
                sequence += 1
