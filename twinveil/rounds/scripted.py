"""S2's side of a conversation: a generator that is sent requests and yields replies.

Written so, the protocol reads downwards; what comes out of order, twice, or too late cannot reach a step.
A request that comes again byte for byte, before the next one, gets the reply that it got; later it is
refused: nothing is done twice. No honest request equals an earlier one, since each holds fresh randomness
or is another step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator

from twinveil.errors import InvalidMessage, OutOfOrder, PeerMismatch
from twinveil.rpc import rounds_pb2 as pb

ROUNDS_VERSION = 5
"""Between the clouds: raised whenever a message changes, or how labels and pads in one are hashed."""
SESSION_BYTES = 16
"""Of the random name that S1 gives each conversation, import or query: its oblivious transfers' own."""

Script = Generator[pb.Round, pb.Round, None]
Dialogue = Generator[pb.Round, pb.Round, pb.Round]
"""S2's part of some steps: yields replies, is sent requests, returns the request that it does not answer."""


def check_version(version: int) -> None:
    """Raises unless S1 speaks the same version."""
    if version != ROUNDS_VERSION:
        raise PeerMismatch(
            f"cloud_s1 speaks protocol version {version}, this cloud {ROUNDS_VERSION}: "
            "install the same version on both"
        )


def check_opening(opening: pb.OpenImport | pb.OpenQuery | pb.OpenItems) -> None:
    """Raises unless S1 speaks the same version and names the conversation."""
    check_version(opening.protocol_version)
    if len(opening.session_id) != SESSION_BYTES:
        raise InvalidMessage(f"a session id has {SESSION_BYTES} bytes, not {len(opening.session_id)}")


def binding(what: bytes, *fields: bytes) -> bytes:
    """SHA-256 over all fields, each with its length: equal only if both clouds were told the same."""
    digest = hashlib.sha256(what)
    for field in fields:
        digest.update(len(field).to_bytes(4, "big") + field)
    return digest.digest()


def expect(message: pb.Round, body: str) -> pb.Round:
    """`message`, if it is the step that comes now. Raises OutOfOrder."""
    found = message.WhichOneof("body")
    if found != body:
        raise OutOfOrder(f"step {found or 'empty'!r} came where {body!r} is due")
    return message


class Scripted:
    """A Conversation (twinveil.rounds.peer) that runs a script: one request in, one reply out.

    start: makes the script from the first request. Any error ends the conversation for good.
    """

    def __init__(self, start: Callable[[pb.Round], Script]) -> None:
        self._start = start
        self._script: Script | None = None
        self._over = False
        self._seen: set[bytes] = set()
        self._answered = b""
        self._reply = pb.Round()

    def handle(self, message: pb.Round) -> pb.Round:
        if self._over:
            raise OutOfOrder("this conversation has ended")
        digest = hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
        if digest == self._answered:
            return self._reply
        self._reply = self._step(message, digest)
        self._answered = digest
        return self._reply

    def _step(self, message: pb.Round, digest: bytes) -> pb.Round:
        try:
            if digest in self._seen:
                raise OutOfOrder("this step was taken before")
            self._seen.add(digest)
            if self._script is None:
                self._script = self._start(message)
                return next(self._script)
            return self._script.send(message)
        except StopIteration:
            self._over = True
            raise OutOfOrder("this conversation has ended") from None
        except BaseException:
            self._over = True
            raise

    def close(self) -> None:
        self._over = True
        self._reply = pb.Round()
        if self._script is not None:
            self._script.close()
