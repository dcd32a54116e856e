"""What Python calls are given: one of the words of an option, one picture or several."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadInput

Source = str | PathLike[str] | bytes | npt.NDArray[np.uint8]
"""Of a picture: a file, its content, or an array that has the model's shape already."""


def check_word(option: str, value: object, kind: Any) -> None:
    """kind: the Literal that the option is one of. Raises BadInput: annotations check nothing."""
    words = get_args(kind)
    if not isinstance(value, str) or value not in words:
        raise BadInput(f"{option} must be one of {', '.join(words)}, not {repr(value)[:80]}")


def check_truth(option: str, value: object) -> None:
    """Raises BadInput for what Python would take for True, such as "no"."""
    if not isinstance(value, bool):
        raise BadInput(f"{option} must be True or False, not {repr(value)[:80]}")


def several(sources: Source | Iterable[Source]) -> list[str | Path | bytes | npt.NDArray[np.uint8]]:
    """Pictures as a list, and so is one alone. Raises BadInput for what is no picture's source."""
    is_array = isinstance(sources, np.ndarray) and sources.ndim == 3
    if is_array or isinstance(sources, str | PathLike | bytes):
        return [_source(sources)]
    return [_source(each) for each in sources]


def _source(given: object) -> str | Path | bytes | npt.NDArray[np.uint8]:
    if isinstance(given, str | bytes | np.ndarray):
        return given
    if isinstance(given, PathLike):
        return Path(given)
    raise BadInput(f"a picture is a path, a file's content or an array, not {type(given).__name__}")
