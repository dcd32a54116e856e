"""How things are said: text from outside, errors to another party in one clean line, commands to type,
counts and times."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable

from twinveil import errors
from twinveil.errors import HostFault, TwinveilError

Telling = Callable[[int, int, str], None]
"""How long work tells of itself: (steps done, steps, what comes now)."""

INTERNAL = "internal error, see the log"
MAX_DETAIL = 500
HOST_FAULTS = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "its share of the disk is used up",
    errno.EFBIG: "a file would be larger than it may be there",
    errno.EROFS: "its disk is read-only",
    errno.EIO: "its disk is broken",
    errno.EACCES: "it may not use its own files",
    errno.EPERM: "it may not use its own files",
    errno.EMFILE: "it has too many open files",
    errno.ENFILE: "its machine has too many open files",
    errno.ENOMEM: "it has no memory left",
}
"""What may be told of an OSError. No path: that is its operator's affair."""

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


def sanitised(error: Exception, who: str = "the other side") -> TwinveilError:
    """What the other side may hear of an error: planned ones as they are, others by a fixed text.

    who: met with it, for the reader.
    """
    if isinstance(error, TwinveilError):
        return type(error)(one_line(str(error)) or type(error).__name__)
    if isinstance(error, OSError) and error.errno in HOST_FAULTS:
        return HostFault(f"{who} cannot go on: {HOST_FAULTS[error.errno]}; tell its operator, then try again")
    if isinstance(error, MemoryError):
        return HostFault(f"{who} cannot go on: it has no memory left; tell its operator, then try again")
    return TwinveilError(INTERNAL)


def typed(*words: object) -> str:
    """A command as a person is told to type it: one line for a shell, each word quoted where it has to be."""
    return " ".join(_quoted(str(word)) for word in words)


def outsource_again(place: str) -> str:
    """What an owner is told of a model that is of no use as it lies at a cloud. place: NAME@VERSION."""
    return f"outsource it again by {typed('twinveil', 'outsource', place, '--again')}"


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # A line break would end the line, a no-break space be copied as another: both as octal bytes.
    return f"$'{''.join(_escaped(sign) for sign in word)}'"


def _escaped(sign: str) -> str:
    if sign.isprintable() and sign not in "\\'":
        return sign
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(sign))


def count_text(count: int) -> str:
    """Short, for people: 522, 2.57 M."""
    for power, sign in ((9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power:
            return f"{count / 10**power:.2f} {sign}"
    return str(count)


def time_text(seconds: float) -> str:
    """Short, for people: 0.42 s, 12 s, 7.4 h."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h"
