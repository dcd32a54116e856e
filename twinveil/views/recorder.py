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
from twinveil.views.view import Bytes, Event, View, rows, word_rows, write

log = logging.getLogger(__name__)

WARNING = (
    "this cloud RECORDS all it sees into %s: for audits of pictures and models that are not secret. "
    "Never record real queries, and never bring the recordings of both clouds to one place"
)


class Recording:
    """An Observer. done is given the view when the conversation has ended, and each item's when it is made:
    thousands may be made in one conversation."""

    def __init__(self, role: str, done: Callable[[View], None]) -> None:
        self.view = View(role, time.time())
        self._done = done
        self._begin = time.perf_counter()
        self._session = ""

    def about(self, topic: Topic) -> None:
        self.view.topic = topic

    def received(self, message: pb.Round) -> None:
        body = message.WhichOneof("body") or "empty"
        self._message("received", body, message, _fields(getattr(message, body, message)))

    def sent(self, message: pb.Round) -> None:
        self._message("sent", message.WhichOneof("body") or "empty", message, {})

    def _message(self, what: str, body: str, message: pb.Round, arrays: Mapping[str, Bytes]) -> None:
        """Whoever sends it, a message says which view it belongs to."""
        match body:
            case "open_items":
                self._session = message.open_items.session_id.hex()
            case "make_item":
                self._hand_over()
                self.view.items = ((self._session, message.make_item.number),)
            case "bind":
                self.view.label_only = message.bind.label_only
            case "spend":
                self.view.items = tuple((each.session_id.hex(), each.number) for each in message.spend.items)
                self.view.label_only = message.spend.bind.label_only
        self._add(what, body, size=_size(message), arrays=arrays)
        if body == "item_words":
            self._hand_over()

    def _hand_over(self) -> None:
        """What has been seen is a view; what follows in this conversation is another one."""
        done, self.view = self.view, View(self.view.role, time.time(), self.view.topic)
        self._begin = time.perf_counter()
        if done.events:
            self._done(done)

    def half(self, name: str, values: Sequence[mpz]) -> None:
        bits = self.view.subject.n.bit_length()
        self._add("half", name, bits=bits, arrays={"values": rows(values, bits)})

    def half_words(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None:
        self._add("half", name, bits=bits, arrays={"values": word_rows(words, bits)})

    def shared(self, name: str, words: npt.NDArray[np.uint64], bits: int) -> None:
        self._add("shared", name, bits=bits, arrays={"values": word_rows(words, bits)})

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        bits = self.view.subject.n.bit_length()
        self._add("decrypted", name, bits=bits, masking=masking, arrays={"values": rows(plaintexts, bits)})

    def evaluated(self, outputs: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        for name, bits in outputs.items():
            packed = np.packbits(bits.reshape(len(bits), -1), axis=0, bitorder="little").T
            self._add("evaluated", name, bits=len(bits), arrays={"values": np.ascontiguousarray(packed)})

    def answered(self, words: npt.NDArray[np.uint64], bits: int) -> None:
        self._add("answered", "words", bits=bits, arrays={"values": word_rows(words, bits)})

    def close(self) -> None:
        self._hand_over()

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


def _size(message: pb.Round) -> int:
    """Bytes on the wire, but for the numbers of items: those are public, and longer the higher they are."""
    body = message.WhichOneof("body")
    if body not in ("make_item", "spend"):
        return message.ByteSize()
    unnumbered = pb.Round()
    unnumbered.CopyFrom(message)
    for each in unnumbered.spend.items if body == "spend" else [unnumbered.make_item]:
        each.ClearField("number")
    return unnumbered.ByteSize()


def _fields(message: Message, prefix: str = "") -> dict[str, Bytes]:
    """A message's bytes, by field; those of a message within are MESSAGE.FIELD, or MESSAGE.NUMBER.FIELD."""
    found: dict[str, Bytes] = {}
    for each, value in message.ListFields():
        if isinstance(value, bytes):
            found[prefix + each.name] = np.frombuffer(value, np.uint8)
        elif isinstance(value, Message):
            found |= _fields(value, f"{prefix}{each.name}.")
        elif each.message_type:
            for number, part in enumerate(value):
                found |= _fields(part, f"{prefix}{each.name}.{number}.")
    return found
