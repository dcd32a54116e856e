"""What one cloud saw of one conversation, in memory and on disk.

FOLDER/view.json           format, role, what the conversation is about, every event in order, with its time
FOLDER/arrays.safetensors  event/FIELD: uint8; integers are rows of bytes, little endian

An event's `bits` is the width of its integers, or 0 where a field is a message's bytes as they came. A
conversation in which items are made has a view for its opening and one for each item.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twinveil.errors import BadInput, TwinveilError
from twinveil.files import private_folder, replace
from twinveil.network.plan import Plan
from twinveil.network.schedule import schedule
from twinveil.rounds.observer import Masking, Topic
from twinveil.values import hexadecimal, integer, read_json, real

FORMAT = 2
BROKEN_OFF, WITHHELD = "broken off", "withheld"
INDEX, ARRAYS = "view.json", "arrays.safetensors"

_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a JSON file that is not as it was written may raise."""

Bytes = npt.NDArray[np.uint8]
ItemName = tuple[str, int]
"""The session id, in hex, of the conversation in which an item is made, and its number there."""


@dataclass(frozen=True)
class Event:
    """One thing that reached a cloud, or left it.

    what: received, sent, half, shared, decrypted, evaluated or answered. seconds: since the conversation
    began. size: bytes on the wire of a message. masking: what hides a decrypted plaintext.
    """

    what: str
    name: str
    seconds: float
    size: int = 0
    bits: int = 0
    masking: Masking | None = None
    arrays: Mapping[str, Bytes] = field(default_factory=dict)

    def shape(self) -> tuple[object, ...]:
        """All but values and time."""
        shapes = tuple((name, array.shape) for name, array in self.arrays.items())
        return (self.what, self.name, self.size, self.bits, self.masking, shapes)


@dataclass
class View:
    """began: seconds since 1970. items: an item's own name; of a query, those that it spends. label_only: of
    a query, as soon as it is bound."""

    role: str
    began: float
    topic: Topic | None = None
    events: list[Event] = field(default_factory=list)
    items: tuple[ItemName, ...] = ()
    label_only: bool | None = None

    @cached_property
    def subject(self) -> Topic:
        if self.topic is None:
            raise BadInput("this conversation ended before it was opened")
        return self.topic

    @property
    def asked(self) -> float | None:
        """When a user's picture came, seconds since 1970; None if none came."""
        times = [event.seconds for event in self.events if event.what == "half"]
        return self.began + times[0] if times else None

    def structure(self) -> list[tuple[object, ...]]:
        """What must not depend on pictures or weights."""
        return [event.shape() for event in self.events]

    @property
    def finished(self) -> bool:
        """Whether all of it is here; a client or a cloud may have broken it off."""
        replies = self._replies
        if self.label_only is False and self.subject.engine == "packed":
            return replies.count("shared_turn") == len(schedule(self.subject.plan).stages)
        return replies[-1:] in (["answered"], ["done"], ["items_opened"], ["item_words"])

    @property
    def withheld(self) -> bool:
        """Whether S2 refused, and nothing was opened."""
        return self._replies[-1:] == ["withheld"]

    @property
    def part(self) -> str:
        """What of a conversation it is. The first item brings the base transfers along."""
        if self.subject.kind != "items":
            return self.subject.kind
        if not self.items:
            return "opening of items"
        return "item" if self.items[0][1] else "first item"

    @property
    def what(self) -> str:
        """For a person."""
        label = ["label only"] if self.label_only else []
        end = [] if self.finished else [WITHHELD if self.withheld else BROKEN_OFF]
        return ", ".join([self.part, self.subject.engine, *label, *end])

    def conversation(self) -> tuple[object, ...]:
        """What the structure follows from, but for what a query is bound to give."""
        topic = self.subject
        return (self.role, self.part, topic.engine, topic.pictures, topic.plan.hash, topic.n.bit_length())

    def kind(self) -> tuple[object, ...]:
        """Views of one kind have one structure; those broken off, if it was at the same event; those
        withheld, if the reason is of the same length."""
        end = () if self.finished else (len(self.events), self.withheld and self.events[-1].size)
        return (*self.conversation(), self.what, end)

    @property
    def _replies(self) -> list[str]:
        what = "received" if self.role == "cloud_s1" else "sent"
        return [event.name for event in self.events if event.what == what]


def rows(values: Sequence[mpz], bits: int) -> Bytes:
    """(count, bytes), little endian."""
    width = -(-bits // 8)
    data = b"".join([int(value).to_bytes(width, "little") for value in values])
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def word_rows(words: npt.NDArray[np.uint64], bits: int) -> Bytes:
    """The same of uint64 of any shape."""
    octets = np.ascontiguousarray(words, "<u8").reshape(-1, 1).view(np.uint8)
    return np.ascontiguousarray(octets[:, : -(-bits // 8)])


def write(view: View, folder: Path) -> None:
    """Both files, mode 0600, the index last: a folder with an index is whole."""
    topic = view.subject
    arrays = {f"{at}/{name}": a for at, event in enumerate(view.events) for name, a in event.arrays.items()}
    data = save(arrays)
    index = {
        "format": FORMAT,
        "role": view.role,
        "began": view.began,
        "kind": topic.kind,
        "plan": topic.plan.to_dict(),
        "engine": topic.engine,
        "pictures": topic.pictures,
        "modulus": f"{topic.n:x}",
        "sigma": topic.sigma,
        "items": view.items,
        "label_only": view.label_only,
        "arrays_sha256": hashlib.sha256(data).hexdigest(),
        "events": [_event_json(event) for event in view.events],
    }
    private_folder(folder)
    replace(folder / ARRAYS, data)
    replace(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode())


def read(folder: Path) -> View:
    """The view in a folder. Raises BadInput if it is damaged, changed, or of another version."""
    try:
        index: dict[str, Any] = read_json((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise BadInput(f"{folder}: a view of format {index['format']}; this release reads {FORMAT}")
        data = (folder / ARRAYS).read_bytes()
        if hashlib.sha256(data).hexdigest() != index["arrays_sha256"]:
            raise BadInput(f"{folder}: the arrays are not those that the index belongs to")
        arrays = load(data)
        topic = Topic(
            _text(index["kind"]),
            Plan.from_json(json.dumps(index["plan"])),
            _text(index["engine"]),
            integer(index["pictures"]),
            mpz(hexadecimal(index["modulus"])),
            integer(index["sigma"]),
        )
        events = [_event(at, entry, arrays) for at, entry in enumerate(index["events"])]
        items = tuple((_text(session), integer(number)) for session, number in index["items"])
        label_only = index["label_only"]
        if label_only not in (None, True, False):
            raise ValueError("neither a label nor a vector")
        return View(_text(index["role"]), real(index["began"]), topic, events, items, label_only)
    except BadInput:
        raise
    except (*_DAMAGED, SafetensorError, TwinveilError) as error:
        raise BadInput(f"{folder}: no whole view: {type(error).__name__}") from None


def _event_json(event: Event) -> dict[str, Any]:
    made: dict[str, Any] = {"what": event.what, "name": event.name, "seconds": round(event.seconds, 6)}
    if event.size:
        made["size"] = event.size
    if event.bits:
        made["bits"] = event.bits
    if event.masking:
        made["mask"] = asdict(event.masking)
    return made | {"fields": list(event.arrays)}


def _event(at: int, entry: Mapping[str, Any], arrays: Mapping[str, Bytes]) -> Event:
    return Event(
        _text(entry["what"]),
        _text(entry["name"]),
        real(entry["seconds"]),
        integer(entry.get("size", 0)),
        integer(entry.get("bits", 0)),
        Masking(**{name: integer(value) for name, value in entry["mask"].items()})
        if "mask" in entry
        else None,
        {name: arrays[f"{at}/{name}"] for name in entry["fields"]},
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
