"""How a process of ours is started: no module of it comes from the folder that it happens to be started in.

`python -m` looks for every module there first, Python's own included. With -P it does not.
"""

from __future__ import annotations

import os
import sys


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours by this interpreter."""
    return [sys.executable, "-P", "-m", module, *arguments]


def leave_folder() -> None:
    """First of all in a __main__: begins again with -P where a person has left it out."""
    if not sys.flags.safe_path:
        os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])  # noqa: S606
