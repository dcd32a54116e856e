"""What one party may tell another about an error: one clean line, never a traceback."""

from __future__ import annotations

from twinveil import errors
from twinveil.errors import TwinveilError

INTERNAL = "internal error, see the log"
MAX_DETAIL = 500

CATALOGUE = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TwinveilError)
}
"""Every error by its name, as it travels."""


def one_line(text: str) -> str:
    """Printable, on one line, and short enough for any terminal, log and HTTP/2 header."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= MAX_DETAIL else clean[: MAX_DETAIL - 1] + "…"


def sanitised(error: Exception) -> TwinveilError:
    """What the other side may hear of an error: planned ones as they are, others by a fixed text."""
    if isinstance(error, TwinveilError):
        return type(error)(one_line(str(error)) or type(error).__name__)
    return TwinveilError(INTERNAL)
