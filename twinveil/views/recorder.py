"""Writes down a cloud's views, for audits: an observer that keeps all it is told, and a folder to put it in.

A view holds what that cloud sees anyway, never a secret key or a mask of its own. The views of *both* clouds
in one place show pictures, weights and answers: what the two clouds know together.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz
from google.protobuf.message import Message

from twinveil.rounds.observer import NOBODY, Masking, Observer, Topic
from twinveil.rpc import rounds_pb2 as pb
from twinveil.start.settings import CloudSettings
from twinveil.views.view import Bytes, Event, View, write

log = logging.getLogger(__name__)

WARNING = (
    "this cloud RECORDS all it sees into %s: for audits of pictures and models that are not secret. "
    "Never record real queries, and never bring the recordings of both clouds to one place"
)


class Recording:
    """An Observer. done is given the view when the conversation has ended."""

    def __init__(self, role: str, done: Callable[[View], None]) -> None:
        self.view = View(role, time.time())
        self._done = done
        self._begin = time.perf_counter()

    def about(self, topic: Topic) -> None:
        self.view.topic = topic

    def received(self, message: pb.Round) -> None:
        body = message.WhichOneof("body") or "empty"
        self._add("received", body, size=message.ByteSize(), arrays=_fields(getattr(message, body, message)))

    def sent(self, message: pb.Round) -> None:
        self._add("sent", message.WhichOneof("body") or "empty", size=message.ByteSize())

    def half(self, name: str, values: Sequence[mpz]) -> None:
        bits = self.view.subject.n.bit_length()
        self._add("half", name, bits=bits, arrays={"values": rows(values, bits)})

    def shared(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None:
        self._add("shared", name, bits=bits, arrays={"values": rows([mpz(int(word)) for word in words.reshape(-1)], bits)})

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        bits = self.view.subject.n.bit_length()
        self._add("decrypted", name, bits=bits, masking=masking, arrays={"values": rows(plaintexts, bits)})

    def evaluated(self, outputs: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        for name, bits in outputs.items():
            packed = np.packbits(bits.reshape(len(bits), -1), axis=0, bitorder="little").T
            self._add("evaluated", name, bits=len(bits), arrays={"values": np.ascontiguousarray(packed)})

    def answered(self, words: npt.NDArray[np.uint64], bits: int) -> None:
        values = [mpz(int(word)) for word in words.reshape(-1)]
        self._add("answered", "words", bits=bits, arrays={"values": rows(values, bits)})

    def close(self) -> None:
        self._done(self.view)

    def _add(
        self,
        what: str,
        name: str,
        size: int = 0,
        bits: int = 0,
        masking: Masking | None = None,
        arrays: Mapping[str, Bytes] | None = None,
    ) -> None:
        seconds = time.perf_counter() - self._begin
        self.view.events.append(Event(what, name, seconds, size, bits, masking, arrays or {}))


def rows(values: Sequence[mpz], bits: int) -> Bytes:
    """(count, bytes), little endian."""
    width = -(-bits // 8)
    data = b"".join([int(value).to_bytes(width, "little") for value in values])
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def recorder(settings: CloudSettings) -> Callable[[], Observer]:
    """Makes each conversation's observer, as the settings say; a warning if they say to record."""
    if settings.record is None:
        return lambda: NOBODY
    log.warning(WARNING, settings.record)
    return partial(Recording, settings.role, partial(keep, settings.record / settings.role))


def keep(folder: Path, view: View) -> None:
    """Write a view that has a topic into a folder of its own: the time, then the kind."""
    if view.topic is None:
        return
    place = folder / f"{int(view.began * 1e6)}-{view.topic.kind}"
    try:
        write(view, place)
    except OSError as error:
        log.error("a view could not be written: %s", error.strerror)
        shutil.rmtree(place, ignore_errors=True)  # on a full disk a half of one is in everybody's way


def _fields(message: Message) -> dict[str, Bytes]:
    """A message's bytes, by field."""
    found = [(each.name, value) for each, value in message.ListFields() if isinstance(value, bytes)]
    return {name: np.frombuffer(value, np.uint8) for name, value in found}
