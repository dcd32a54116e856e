"""A scripted conversation, and a peer to it in memory and over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from twinveil.errors import BadInput, InvalidKey, TooMuch
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rpc.rounds_pb2 import Bind, Done, MaskedPlaintexts, Round
from twinveil.services.rounds import GrpcPeer, RoundsServicer
from twinveil.transport.authorisation import Doorkeeper
from twinveil.transport.identity import INSECURE_ROLE_KEY, PeerIdentity

MESSAGE_BYTES = 5 << 20


class Scripted:
    """Answers by what it is told; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Round] = []
        self.closed = threading.Event()
        self.closings = 0
        self.entered = threading.Event()
        self.release = threading.Event()

    def handle(self, message: Round) -> Round:
        self.seen.append(message)
        match message.WhichOneof("body"):
            case "bind" if message.bind.binding == b"typed":
                raise InvalidKey("the key is\nnot the pinned one")
            case "bind" if message.bind.binding == b"much":
                raise TooMuch("too much at once")
            case "bind" if message.bind.binding == b"crash":
                raise ZeroDivisionError("secret 42")
            case "bind" if message.bind.binding == b"hang":
                self.entered.set()
                self.release.wait(20)
            case "bind" if message.bind.binding == b"empty":
                return Round()
        return Round(masked_plaintexts=MaskedPlaintexts(ciphertexts=message.SerializeToString()))

    def close(self) -> None:
        self.closings += 1
        self.closed.set()
        self.release.set()


def bind(binding: bytes) -> Round:
    return Round(bind=Bind(binding=binding))


def done() -> Round:
    return Round(done=Done())


class AsRole(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Calls over plaintext in the name of a role."""

    def __init__(self, uri: str) -> None:
        self._metadata = ((INSECURE_ROLE_KEY, uri),)

    def _with_role(self, details: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
        return details._replace(metadata=self._metadata)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self._with_role(details), request)

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(self._with_role(details), requests)


class RoundsServer:
    """S2's end on a loopback port."""

    def __init__(self) -> None:
        self.conversations: list[Scripted] = []
        self.callers: list[PeerIdentity] = []
        self.server = grpc.server(ThreadPoolExecutor(8), interceptors=[Doorkeeper(insecure=True)])
        RoundsServicer(self._open, MESSAGE_BYTES).register(self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _open(self, caller: PeerIdentity) -> Scripted:
        if caller.name == "refused":
            raise BadInput("not now")
        self.callers.append(caller)
        self.conversations.append(Scripted())
        return self.conversations[-1]

    def channel(self, uri: str = "twinveil://cloud_s1/s1") -> grpc.Channel:
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        return grpc.intercept_channel(channel, AsRole(uri))


@pytest.fixture
def rounds_server() -> Iterator[RoundsServer]:
    server = RoundsServer()
    yield server
    for conversation in server.conversations:
        conversation.release.set()
    server.server.stop(0).wait(5)


MakePeer = Callable[[], tuple[Peer, Callable[[], Scripted]]]


@pytest.fixture(params=["memory", "grpc"])
def make_peer(request: pytest.FixtureRequest) -> Iterator[MakePeer]:
    """Makes a peer, and gives the conversation at its other end once there is one."""
    peers: list[Peer] = []

    def memory() -> tuple[Peer, Callable[[], Scripted]]:
        conversation = Scripted()
        peers.append(MemoryPeer(conversation, MESSAGE_BYTES))
        return peers[-1], lambda: conversation

    def over_grpc() -> tuple[Peer, Callable[[], Scripted]]:
        server: RoundsServer = request.getfixturevalue("rounds_server")
        at = len(server.conversations)
        peers.append(GrpcPeer(server.channel(), deadline=10, most=MESSAGE_BYTES))
        return peers[-1], lambda: server.conversations[at]

    if request.param == "grpc":
        request.getfixturevalue("rounds_server")
    yield memory if request.param == "memory" else over_grpc
    for peer in peers:
        peer.close()
