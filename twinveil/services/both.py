"""A client's call to both clouds at once, followed until both have given their result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeVar

import grpc

from twinveil.errors import BrokenOff, PeerUnavailable, TwinveilError
from twinveil.rpc.inference_pb2 import AnswerEvent
from twinveil.rpc.provision_pb2 import OutsourceEvent
from twinveil.transport.channel import Connection
from twinveil.transport.status import from_rpc_error
from twinveil.wording import Telling

Event = TypeVar("Event", AnswerEvent, OutsourceEvent)
ECHO_SECONDS = 5.0
"""How long the cloud that broke off has to say why, after the other one said that it did."""


def follow_both(
    links: Sequence[Connection], calls: Sequence[grpc.CallIterator[Event]], report: Telling
) -> tuple[Event, Event]:
    """Each cloud's event that is no progress, S1's first; `report` gets S1's progress.

    The first error is the reason and ends both calls: what the other then says is only its echo. BrokenOff is
    an echo that was quicker. Raises PeerUnavailable if a cloud ends its call without a result.
    """
    results: dict[int, Event] = {}
    errors: list[TwinveilError] = []
    over = (threading.Event(), threading.Event())

    def fail(index: int, error: TwinveilError) -> None:
        errors.append(error)
        over[index].set()
        if isinstance(error, BrokenOff):
            over[1 - index].wait(ECHO_SECONDS)
        calls[1 - index].cancel()  # type: ignore[no-untyped-call]

    def follow(index: int) -> None:
        peer = links[index].peer
        try:
            for event in calls[index]:
                kind = event.WhichOneof("event")
                if kind == "progress":
                    if index == 0:
                        report(event.progress.stage, event.progress.stages, event.progress.label)
                elif kind is not None:
                    results[index] = event
        except grpc.RpcError as error:
            fail(index, from_rpc_error(error, peer))
        else:
            if index not in results:
                fail(index, PeerUnavailable(f"{peer} ended the call without a result: ask again"))
            over[index].set()

    other = threading.Thread(target=follow, args=(1,), daemon=True)
    other.start()
    try:
        follow(0)
        other.join()
    except BaseException:
        for call in calls:
            call.cancel()  # type: ignore[no-untyped-call]
        raise
    if errors:
        raise next((error for error in errors if not isinstance(error, BrokenOff)), errors[0])
    return results[0], results[1]
