"""Messages of a conversation by formula: how large, how many, and which function they are booked under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinveil.garbling.base_ot import BASE_COUNT, POINT_BYTES
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES
from twinveil.rounds.wire import round_bytes

ID_BYTES = 16
"""Of an import, a query."""
HASH_BYTES = 32
BASE_BYTES = BASE_COUNT * POINT_BYTES
"""Of the answer to the first message of base transfers, POINT_BYTES long."""
OPENING = {"protocol_version": ROUNDS_VERSION, "session_id": SESSION_BYTES, "import_id": ID_BYTES}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of S1's and S2's answer: bytes of serialised Rounds. times: so often in a row."""

    function: str
    sent: int
    received: int
    times: int = 1


COMMIT = Turn("import", round_bytes("commit"), round_bytes("done"))
"""Ends the import of a model, for whatever engines it was."""


def open_import(engine: str, base_ot: int = 0) -> int:
    """Bytes of the message that begins an import."""
    fields = OPENING | {"layout": HASH_BYTES, "engine": len(engine), "binding": HASH_BYTES}
    return round_bytes("open_import", **fields, base_ot=base_ot)


def bind_fields(label_only: bool) -> dict[str, int]:
    """Of which query it is that a conversation answers."""
    return {"query_id": ID_BYTES, "binding": HASH_BYTES, "label_only": int(label_only)}


def longest(turns: Sequence[Turn]) -> int:
    """Bytes of the longest message."""
    return max(max(turn.sent, turn.received) for turn in turns)


def sent(turns: Sequence[Turn]) -> int:
    """Bytes of all that S1 sends."""
    return sum(turn.times * turn.sent for turn in turns)


def received(turns: Sequence[Turn]) -> int:
    return sum(turn.times * turn.received for turn in turns)


def messages(turns: Sequence[Turn]) -> int:
    """Of both clouds."""
    return 2 * sum(turn.times for turn in turns)
