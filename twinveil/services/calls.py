"""What the thin shells of all services share: events of a long call, and checks of what a caller sends.

Handlers know nothing of gRPC. Long ones are generators that yield Progress and return the result; when the
caller goes away the generator is closed, and its `finally` frees what it held.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar, cast

from twinveil.errors import BadInput, InvalidMessage, PeerMismatch
from twinveil.network.card import check_name as check_names
from twinveil.rpc.types_pb2 import Progress
from twinveil.transport.identity import PeerIdentity
from twinveil.version import PROTOCOL_VERSION

Event = TypeVar("Event")
Outcome = TypeVar("Outcome")


def events(
    work: Generator[Progress, None, Outcome],
    of_progress: Callable[[Progress], Event],
    of_result: Callable[[Outcome], Event],
) -> Iterator[Event]:
    """A handler's generator as a stream of events; closed when the stream ends, however it ends."""
    with closing(work):
        result = yield from _map(work, of_progress)
        yield of_result(result)


def _map(
    work: Generator[Progress, None, Outcome], of_progress: Callable[[Progress], Event]
) -> Generator[Event, None, Outcome]:
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            return cast("Outcome", end.value)
        yield of_progress(progress)


def check_version(version: int, who: PeerIdentity) -> None:
    if version != PROTOCOL_VERSION:
        raise PeerMismatch(
            f"{who} speaks protocol version {version}, this cloud speaks {PROTOCOL_VERSION}: "
            "bring both to the same release"
        )


def check_name(model: str, version: str) -> None:
    try:
        check_names(model, version)
    except BadInput as error:
        raise InvalidMessage(str(error)) from None


def check_length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise InvalidMessage(f"the {what} has {len(value)} bytes instead of {length}")
