"""What comes in, as text or as an option of a Python call: of one strict form, or refused.

A number in text is ASCII digits, of a bounded length, and nothing around them. int(), float() and Decimal()
take more: "1_000", "٣", " 7 ", "nan", and "1e999999", whose digits alone are a minute's work. JSON takes NaN,
1e999 and integers of any length. So whatever a person, a file or another process has written is a number by
these forms, or none.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, get_args

from twinveil.errors import BadInput

MOST_DIGITS = 18
"""Whatever has no more fits into 64 bits."""

_WHOLE = re.compile(rf"-?[0-9]{{1,{MOST_DIGITS}}}")
_DECIMAL = re.compile(rf"-?[0-9]{{1,{MOST_DIGITS}}}(\.[0-9]{{1,{MOST_DIGITS}}})?")

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,4096}")


def whole(text: str) -> int:
    """A whole number, such as 7 or -7. Raises ValueError."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("no whole number")
    return int(text)


def decimal(text: str) -> float:
    """A number with or without a fraction, such as 2 or 0.25. Raises ValueError."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError("no number")
    return float(text)


def hexadecimal(text: str) -> int:
    """A natural number as long as any modulus. Raises ValueError."""
    if not _HEXADECIMAL.fullmatch(text):
        raise ValueError("no hexadecimal number")
    return int(text, 16)


def read_json(text: str | bytes) -> Any:
    """As json.loads, without numbers that no computation can use. Raises ValueError, RecursionError."""
    return json.loads(text, parse_int=whole, parse_float=_finite, parse_constant=_refuse)


def integer(value: object) -> int:
    """A number out of a parsed file that has to be a whole one. Raises TypeError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no whole number")
    return value


def real(value: object) -> float:
    """A number out of a parsed file. Raises TypeError, and ValueError for one that is not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("no number")
    if not math.isfinite(value):
        raise ValueError("no finite number")
    return float(value)


def check_word(option: str, value: object, kind: Any) -> None:
    """kind: the Literal that the option is one of. Raises BadInput: annotations check nothing."""
    words = get_args(kind)
    if not isinstance(value, str) or value not in words:
        raise BadInput(f"{option} must be one of {', '.join(words)}, not {repr(value)[:80]}")


def check_truth(option: str, value: object) -> None:
    """Raises BadInput for what Python would take for True, such as "no"."""
    if not isinstance(value, bool):
        raise BadInput(f"{option} must be True or False, not {repr(value)[:80]}")


def _finite(text: str) -> float:
    return real(float(text))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
