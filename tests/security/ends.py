"""What became of one fuzzing input."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from twinveil.errors import TwinveilError

CRASH = "CRASH"
LONGEST = 4000
"""Letters of a traceback, from its end."""


@dataclass(frozen=True)
class End:
    """kind: "accepted", the type of the TwinveilError that was raised, or CRASH.

    crash: exception and place of a crash, one line; text: its traceback. growth: bytes of resident memory at
    the peak, beyond those at the begin; 0 where the input had no process of its own.
    """

    kind: str
    crash: str = ""
    text: str = ""
    seconds: float = 0.0
    growth: int = 0


def attempt(work: Callable[[], object]) -> End:
    """Runs `work`. A plain TwinveilError is a crash, too: boundaries turn unplanned errors into one."""
    started = time.monotonic()
    kind, found = "accepted", None
    try:
        work()
    except Exception as error:
        kind = type(error).__name__
        if not isinstance(error, TwinveilError) or type(error) is TwinveilError:
            kind, found = CRASH, error
    seconds = time.monotonic() - started
    if found is None:
        return End(kind, seconds=seconds)
    text = "".join(traceback.format_exception(found))[-LONGEST:]
    cause = found.__cause__ or found
    place = traceback.extract_tb(cause.__traceback__)[-1]
    return End(kind, f"{type(cause).__name__} at {place.filename}:{place.lineno}", text, seconds)
