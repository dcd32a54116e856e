"""The owner's two streams: what one cloud alone has kept of a failed import is taken away again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from owner.outsource import _send
from tests.services.test_both import Call
from twinveil.errors import PeerUnavailable
from twinveil.rpc.provision_pb2 import ModelHeader, OutsourceEvent
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.transport.channel import Connection

DONE = OutsourceEvent(outsourced=ModelEntry(model="digits", version="1"))


@pytest.fixture
def forgotten() -> list[tuple[str, str]]:
    return []


def send(monkeypatch: pytest.MonkeyPatch, forgotten: list[tuple[str, str]], *calls: Call) -> ModelEntry:
    monkeypatch.setattr(
        "twinveil.services.provision.provision_pb2_grpc.ProvisionStub",
        lambda call: SimpleNamespace(Outsource=lambda *_, **__: call),
    )
    s1, s2 = (Connection(call, f"cloud_s{number}", None) for number, call in enumerate(calls, 1))  # type: ignore[arg-type]
    clouds: Any = SimpleNamespace(s1=s1, s2=s2, forget=lambda *model: forgotten.append(model))
    return _send(ModelHeader(model="digits", version="1"), (b"", b""), clouds, lambda *_: None)


def test_the_entry_of_a_model_that_is_at_both(
    monkeypatch: pytest.MonkeyPatch, forgotten: list[tuple[str, str]]
) -> None:
    assert send(monkeypatch, forgotten, Call(DONE), Call(DONE)) == DONE.outsourced
    assert not forgotten


@pytest.mark.parametrize("calls", [((), ()), ((DONE,), ()), ((), (DONE,))])
def test_streams_that_end_without_a_result(
    monkeypatch: pytest.MonkeyPatch, forgotten: list[tuple[str, str]], calls: tuple[tuple[Any, ...], ...]
) -> None:
    with pytest.raises(PeerUnavailable, match="ended the call without a result"):
        send(monkeypatch, forgotten, *(Call(*events) for events in calls))
    assert forgotten == [("digits", "1")]
