"""A refusal of S2's that costs nothing: what was asked for is not done, and everything stays as it was."""

from __future__ import annotations

from twinveil.errors import PeerMismatch, TwinveilError
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.wording import CATALOGUE, one_line


class Withheld(Exception):
    """What S1 raises for it. error: for whoever asked."""

    def __init__(self, error: TwinveilError) -> None:
        super().__init__(str(error))
        self.error = error


def withheld(error: TwinveilError) -> pb.Round:
    """S2's end."""
    return pb.Round(withheld=pb.Withheld(error=type(error).__name__, reason=one_line(str(error))))


def unless_withheld(reply: pb.Round, body: str) -> pb.Round:
    """S1's end: the reply, if it is the step that comes now. Raises Withheld, or OutOfOrder."""
    if reply.WhichOneof("body") != "withheld":
        return expect(reply, body)
    kind = CATALOGUE.get(reply.withheld.error, PeerMismatch)
    raise Withheld(kind(one_line(reply.withheld.reason)))
