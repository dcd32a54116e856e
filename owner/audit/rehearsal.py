"""The owner's side of a rehearsal: pictures in, both clouds' views out, by a process of its own.

The process (twinveil.rehearsal) makes a key of its own and forgets it; the owner never holds a secret key.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from owner.audit.views import RecordedArrays
from twinveil.errors import TwinveilError
from twinveil.pictures.files import Picture
from twinveil.rehearsal.arrays import load_views
from twinveil.start.process import command


def rehearse(
    model: Path,
    pictures: Picture,
    key_bits: int,
    report: Callable[[int, int], None],
    keep: Path | None = None,
) -> RecordedArrays:
    """Views of `pictures` (n, channels, height, width) through the protocol with the model of a folder.

    report(done, total) after every query; keep: a file to leave them in. Raises TwinveilError with the
    process's own last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "pictures.npy", keep or Path(folder) / "views.npz"
        np.save(given, pictures)
        words = command("twinveil.rehearsal", str(model), str(given), str(made), "--key-bits", str(key_bits))
        errors = Path(folder) / "errors"
        with (
            errors.open("w", encoding="utf-8") as stderr,
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8") as process,
        ):
            try:
                for line in process.stdout or ():
                    done, total = line.split()
                    report(int(done), int(total))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            reason = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [
                "it ended without a word"
            ]
            raise TwinveilError(f"the rehearsal failed: {reason[-1].removeprefix('error: ')}")
        return load_views(made)
