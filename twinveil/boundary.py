"""The edge of every command: an error becomes one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.extras import needs, remedy

DEBUG = "TWINVEIL_DEBUG"
INTERRUPTED = 130


def guarded(main: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code. With TWINVEIL_DEBUG set, tracebacks are printed as well."""
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
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
        text = f"unexpected {type(error).__name__}: {error} (set {DEBUG}=1 for the details)"
    return " ".join(text.split())
