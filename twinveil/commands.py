"""Commands as a person is told to type them: the one way in which they are written."""

from __future__ import annotations

import os
import shlex


def typed(*words: object) -> str:
    """Its words as one line for a shell, each quoted where it has to be."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # A line break would end the line, a no-break space be copied as another: both as octal bytes.
    return f"$'{''.join(_escaped(sign) for sign in word)}'"


def _escaped(sign: str) -> str:
    if sign.isprintable() and sign not in "\\'":
        return sign
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(sign))
