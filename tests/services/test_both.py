"""Both clouds' streams at once: two results, or the first error, and then the other call is ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from twinveil.errors import BrokenOff, HostFault, PeerUnavailable, TwinveilError
from twinveil.rpc.inference_pb2 import AnswerEvent, AnswerHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.services.both import follow_both
from twinveil.transport.channel import Connection
from twinveil.transport.status import ERROR_KEY

LINKS = [Connection(None, f"cloud_s{number}", None) for number in (1, 2)]  # type: ignore[arg-type]


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


class Failed(grpc.RpcError, grpc.Call):
    """A call that ended with a typed error."""

    def __init__(self, error: TwinveilError) -> None:
        self._error = error

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self._error.status]

    def details(self) -> str:
        return str(self._error)

    def trailing_metadata(self) -> Any:
        return ((ERROR_KEY, type(self._error).__name__),)


Failed.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]  # grpc.Call's others


class Late(Call):
    """Ends by itself a moment after the other."""

    def __iter__(self) -> Iterator[AnswerEvent]:
        assert not self.cancelled.wait(0.2), "the other's error came first and is no reason"
        yield from super().__iter__()


@pytest.mark.parametrize("first", [0, 1])
def test_the_reason_is_waited_for_where_the_other_cloud_says_that_it_is_coming(first: int) -> None:
    echo, reason = Failed(BrokenOff("the import was broken off")), Failed(HostFault("its disk is full"))
    calls = [Call(progress(1, ""), echo), Late(reason)]
    with pytest.raises(HostFault, match=r"^its disk is full$"):
        follow(*(calls if first == 0 else reversed(calls)))


def test_a_reason_that_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.services.both.ECHO_SECONDS", 0.1)
    calls = Call(None), Call(Failed(BrokenOff("the import was broken off")))
    with pytest.raises(TwinveilError, match=r"^cloud_s1: the call failed$"):
        follow(*calls)
    with pytest.raises(BrokenOff):
        follow(Call(Failed(BrokenOff("one"))), Call(Failed(BrokenOff("two"))))


def test_an_interrupted_caller_ends_both_calls() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    calls = (Call(progress(1, ""), None), Call(None))
    with pytest.raises(KeyboardInterrupt):
        follow(*calls, report=interrupt)
    assert all(call.cancelled.is_set() for call in calls)
