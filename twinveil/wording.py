"""How text from outside is shown, and what one party may tell another about an error: one clean line."""

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


def visible(text: str) -> str:
    """What would act on a terminal or hide in it, as an escape that can be read.

    That is all that is not printable: controls, what turns the direction of writing, invisible letters, the
    lone surrogates by which Python carries a file's name that is no UTF-8, and ends of lines.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def visible_lines(text: str) -> str:
    """The same of a text that has several lines."""
    return "\n".join(map(visible, text.split("\n")))


def one_line(text: str) -> str:
    """Printable, on one line, and short enough for any terminal, log and HTTP/2 header."""
    clean = visible(" ".join(text.split()))
    return clean if len(clean) <= MAX_DETAIL else clean[: MAX_DETAIL - 1] + "…"


def sanitised(error: Exception) -> TwinveilError:
    """What the other side may hear of an error: planned ones as they are, others by a fixed text."""
    if isinstance(error, TwinveilError):
        return type(error)(one_line(str(error)) or type(error).__name__)
    return TwinveilError(INTERNAL)
