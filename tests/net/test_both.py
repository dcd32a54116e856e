"""Both clouds' streams at once: two results, or the first error, and then the other call is ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.net.both import follow_both
from twinveil.net.channel import Link
from twinveil.rpc.inference_pb2 import AnswerEvent, AnswerHalf
from twinveil.rpc.types_pb2 import Progress

LINKS = [Link(None, f"cloud_s{number}", None) for number in (1, 2)]  # type: ignore[arg-type]


class Call:
    """A stream of events; an exception ends it, None waits until it is cancelled."""

    def __init__(self, *events: Any) -> None:
        self._events = events
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[AnswerEvent]:
        for event in self._events:
            if event is None:
                assert self.cancelled.wait(10)
                raise grpc.RpcError
            if isinstance(event, BaseException):
                raise event
            yield event

    def cancel(self) -> None:
        self.cancelled.set()


def progress(stage: int, label: str) -> AnswerEvent:
    return AnswerEvent(progress=Progress(stage=stage, stages=3, label=label))


def result(half: bytes) -> AnswerEvent:
    return AnswerEvent(answer=AnswerHalf(half=half))


def follow(*calls: Call, report: Any = lambda *_: None) -> list[bytes]:
    return [event.answer.half for event in follow_both(LINKS, calls, report)]  # type: ignore[arg-type]


def test_both_results_and_the_progress_of_s1() -> None:
    told: list[tuple[int, int, str]] = []
    calls = (
        Call(progress(0, "ours"), progress(1, "ours"), result(b"one")),
        Call(progress(2, "theirs"), result(b"two")),
    )
    assert follow(*calls, report=lambda *each: told.append(each)) == [b"one", b"two"]
    assert told == [(0, 3, "ours"), (1, 3, "ours")]
    assert not any(call.cancelled.is_set() for call in calls)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("before", [[], [progress(1, "")], [result(b"one")]])
def test_the_first_error_wins_and_ends_the_other_call(first: int, before: list[AnswerEvent]) -> None:
    calls = [Call(*before, grpc.RpcError()), Call(progress(1, ""), None)]
    with pytest.raises(TwinveilError, match=f"^cloud_s{first + 1}: the call failed$"):
        follow(*(calls if first == 0 else reversed(calls)))
    assert calls[1].cancelled.is_set()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("events", [[], [progress(1, "")], [AnswerEvent()]])
@pytest.mark.parametrize("then", [[None], [result(b"two")]])
def test_a_call_that_ends_without_a_result_is_an_error(
    first: int, events: list[AnswerEvent], then: list[Any]
) -> None:
    calls = [Call(*events), Call(*then)]
    with pytest.raises(PeerUnavailable, match=f"^cloud_s{first + 1} ended the call without a result"):
        follow(*(calls if first == 0 else reversed(calls)))
    assert calls[1].cancelled.is_set()


def test_an_interrupted_caller_ends_both_calls() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    calls = (Call(progress(1, ""), None), Call(None))
    with pytest.raises(KeyboardInterrupt):
        follow(*calls, report=interrupt)
    assert all(call.cancelled.is_set() for call in calls)
