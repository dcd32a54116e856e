"""The edge of every command: an error becomes one line on stderr and an exit code, never a traceback.

What a terminal cannot show, be it a control or a letter that its charset lacks, is shown as an escape.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.start.extras import needs, remedy
from twinveil.wording import visible, visible_lines

DEBUG = "TWINVEIL_DEBUG"
INTERRUPTED = 130


def guarded(main: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code. With TWINVEIL_DEBUG set, tracebacks are printed as well."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            print(visible_lines(traceback.format_exc()), file=sys.stderr, end="")
        if isinstance(error, ModuleNotFoundError) and error.name and remedy(error.name):
            error = BadConfiguration(needs("this", error.name))
        print(f"error: {_line(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, TwinveilError) else 1


def _line(error: Exception) -> str:
    if isinstance(error, TwinveilError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        words = " ".join(str(error).split())
        text = f"unexpected {type(error).__name__}: {words} (set {DEBUG}=1 for the details)"
    return visible(text)


def log_to_stderr(level: str) -> None:
    """A process's log: one line an event, whatever others put into it, and the lines of a traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_VisibleLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class _VisibleLines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return visible_lines(super().formatException(ei))
