"""Every masked field of views of one kind, as numbers that must be uniform and independent.

A field has a row for each view and a column for each value in it. Two things are kept of a value: where it
lies in its range (`fractions`), and its low bits (`levels`); differences of either are uniform, too, wherever
the values are uniform and independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.errors import BadInput
from twinveil.rounds.observer import Masking, Topic
from twinveil.views.view import Bytes, Event, View, word_rows
from twinveil.views.words import unpacked, words_in

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.uint8]
Values = TypeVar("Values", Floats, Levels)

CIPHERTEXTS = frozenset({"factors", "differences", "ciphertexts", "kernels", "left", "right", "products"})
RANDOM_BYTES = frozenset(
    {"base_ot", "base_ot_reply", "extension", "tables", "labels", "garbler_labels", "masked_labels"}
)
RANDOM_BITS = frozenset({"bits", "decode"})
PUBLIC = frozenset({"session_id", "import_id", "layout", "query_id", "binding"})

FINE_BITS = 16
"""From this width on, a value's place in its range is as good as continuous."""


@dataclass(frozen=True)
class Field:
    """fractions: (views, values), in [0, 1) if nothing leaks; None for narrow ones. levels: below `count`."""

    name: str
    fractions: Floats | None
    levels: Levels
    count: int
    statistical: bool = False
    """By masks with sigma bits of slack: any fraction of a view leaves [0, 1) with probability 2^-sigma."""


def fields(views: Sequence[View]) -> list[Field]:
    """The fields of views with one structure; values of one name are joined. Raises BadInput for a message
    whose content it does not know: nothing that a cloud receives goes untested."""
    by_name: dict[str, list[list[Field]]] = {}
    for view in views:
        found: dict[str, list[Field]] = {}
        counts: Counter[str] = Counter()
        for event in view.events:
            try:
                for part in _of_event(event, view, counts[event.name]):
                    found.setdefault(part.name, []).append(part)
            except (LookupError, ValueError):
                raise BadInput(f"{event.what} {event.name} is not as this view's plan has it") from None
            counts[event.name] += event.what == "received"
        for name, parts in found.items():
            by_name.setdefault(name, []).append(parts)
    return [_joined(rows) for rows in by_name.values()]


def _joined(rows: Sequence[Sequence[Field]]) -> Field:
    first = rows[0][0]
    levels = np.stack([np.concatenate([part.levels for part in row]) for row in rows])
    placed = [[part.fractions for part in row if part.fractions is not None] for row in rows]
    fractions = np.stack([np.concatenate(row) for row in placed]) if placed[0] else None
    return Field(first.name, fractions, levels, first.count, first.statistical)


def _of_event(event: Event, view: View, number: int) -> Iterator[Field]:
    """number: of messages of this name that the cloud has received before."""
    topic = view.subject
    match event.what:
        case "received":
            for name, data in event.arrays.items():
                parts = [part for part in name.split(".") if not part.isdigit()]
                title, runs = ".".join([event.name, *parts]), words_in(view, event.name, name, number)
                if runs is not None:
                    for run, words in unpacked(data, runs):
                        yield _bits(f"{title} {run.name}", word_rows(words, run.bits), run.bits)
                elif parts[-1] not in PUBLIC:
                    yield _received(title, parts[-1], data, topic.n)
        case "half" if event.bits == topic.n.bit_length():
            yield _modulo(f"half {event.name}", event.arrays["values"], topic.n)
        case "half":
            yield _bits(f"half {event.name}, words", event.arrays["values"], event.bits)
        case "shared":
            yield _bits(f"shared {event.name}", event.arrays["values"], event.bits)
        case "decrypted":
            yield _decrypted(event, topic.n)
        case "evaluated":
            yield _output(event, topic)
        case "answered":
            yield _bits("answer", event.arrays["values"], event.bits)


def _received(title: str, name: str, data: Bytes, n: mpz) -> Field:
    if name in CIPHERTEXTS:
        width = 2 * n.bit_length() // 8
        return _modulo(title, data.reshape(-1, width)[:, ::-1], n * n)
    if name in RANDOM_BYTES:
        return Field(title, None, data, 256)
    if name in RANDOM_BITS:
        return Field(title, None, data[:-1], 256)  # the last byte is filled up with zeros
    raise BadInput(f"nothing is known of the field {title}: this release cannot judge such a view")


def _decrypted(event: Event, n: mpz) -> Field:
    values, title = event.arrays["values"], f"decrypted {event.name}"
    if event.masking is None:
        return _modulo(title, values, n)
    return _masked(title, values, event.masking)


def _output(event: Event, topic: Topic) -> Field:
    values, title = event.arrays["values"], f"output {event.name}"
    records = event.name in ("t", "mr", "label")
    if not records and (topic.kind == "import" or topic.engine == "textbook"):
        return _masked(title, values, Masking(event.bits - 1))
    return _bits(title, values, event.bits)


def _bits(name: str, values: Bytes, bits: int) -> Field:
    """Uniform below 2^bits."""
    levels = values[:, 0] & np.uint8(min(255, (1 << bits) - 1))
    return Field(name, _scaled(values, bits) if bits >= FINE_BITS else None, levels, 1 << min(8, bits))


def _masked(name: str, values: Bytes, masking: Masking) -> Field:
    """y + s, s uniform in [offset, offset + 2^bits)."""
    fractions = _scaled(values, masking.bits) - float(
        np.ldexp(1.0, masking.offset.bit_length() - 1 - masking.bits)
    ) * (masking.offset > 0)
    whole = max(1, masking.bits // 8)  # bytes below the top of the mask, each of which is uniform
    return Field(name, fractions, values[:, :whole].T.reshape(-1), 256, statistical=True)


def _modulo(name: str, values: Bytes, n: mpz) -> Field:
    """Uniform below n."""
    bits = n.bit_length()
    lead = int(n >> max(0, bits - 64)) / 2.0 ** min(64, bits)
    return Field(name, _scaled(values, bits) / lead, values[:, 0], 256)


def _scaled(values: Bytes, bits: int) -> Floats:
    """value / 2^bits of rows of little-endian bytes."""
    # Beyond 2^1000 a double ends: what is there is outside of every range, however far.
    weights = np.ldexp(1.0, np.clip(8 * np.arange(values.shape[1]) - bits, -1000, 1000))
    return np.asarray(values.astype(np.float64) @ weights)
