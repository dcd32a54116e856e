"""Classification for programs in other languages on the user's machine: picture in, class out, over gRPC."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Generator

from twinveil.errors import TwinveilError
from twinveil.params import Engine
from twinveil.pictures.files import Invert
from twinveil.rpc.gateway_pb2 import Picture, Result
from twinveil.rpc.types_pb2 import Progress
from twinveil.transport.identity import PeerIdentity
from twinveil.values import check_word
from user.client import Classification, Client
from user.contact import Contact

HEARTBEAT = 0.5
"""Seconds between signs of life, by which a program that went away is noticed."""

DEFAULT_ENGINE = "packed"


class Gateway:
    """A GatewayHandler: every picture is a query with connections of its own."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._lock = threading.Lock()
        self.running = 0

    def classify(self, picture: Picture, caller: PeerIdentity) -> Generator[Progress, None, Result]:
        check_word("invert", picture.invert or "auto", Invert)
        check_word("engine", picture.engine or DEFAULT_ENGINE, Engine)
        self._count(1)
        try:
            # Leaving closes the channels, which ends a query that nobody waits for any more.
            with Client(self._contact) as client:
                query = _Query(client, picture)
                last = Progress()
                while not isinstance(event := query.next(HEARTBEAT), Classification):
                    last = event or last
                    yield last
                return _result(event)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self.running += change


class _Query:
    """A query in a thread, so that its caller can look after other things meanwhile."""

    def __init__(self, client: Client, picture: Picture) -> None:
        self._client = client
        self._picture = picture
        self._events: queue.SimpleQueue[Progress | Classification | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="gateway-query", daemon=True).start()

    def next(self, seconds: float) -> Progress | Classification | None:
        """What is new, None if nothing is within that time; raises what ended the query."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    def _work(self) -> None:
        asked = self._picture
        try:
            [made] = self._client.classify(
                [asked.file],
                asked.model,
                asked.version,
                label_only=asked.label_only,
                engine=asked.engine or DEFAULT_ENGINE,  # type: ignore[arg-type]  # checked before
                invert=asked.invert or "auto",  # type: ignore[arg-type]  # checked before
                mask=asked.mask or None,
                report=lambda done, stages, label: self._events.put(
                    Progress(stage=done, stages=stages, label=label)
                ),
            )
            self._events.put(made)
        except Exception as error:
            self._events.put(error if isinstance(error, TwinveilError) else TwinveilError(str(error)))


def _result(made: Classification) -> Result:
    return Result(
        label=made.label,
        class_name=made.class_name,
        vector=made.vector,
        seconds=made.seconds,
        bytes=made.bytes,
        figures_json=json.dumps(made.figures),
    )
