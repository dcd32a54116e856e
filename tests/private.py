"""Whether others on this machine can read what was made."""

from __future__ import annotations

import stat
from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """What lies below a folder, and the folder itself, that somebody else may read, write or enter."""
    return [
        f"{path.relative_to(folder)}: {stat.S_IMODE(path.stat().st_mode):04o}"
        for path in (folder, *sorted(folder.rglob("*")))
        if path.stat().st_mode & 0o077
    ]
