"""What TWINVEIL_NATIVE asks of everything that is written in C twice: once for speed, once for any machine.

auto        what is fastest here (default)
required    the same, and an error where nothing native is there: for machines that are meant to be fast
off         nothing native
ifma, avx2  big integers at that level, or an error
"""

from __future__ import annotations

import os

from twinveil.errors import BadConfiguration

VARIABLE = "TWINVEIL_NATIVE"
AUTO, REQUIRED, OFF, IFMA, AVX2 = "auto", "required", "off", "ifma", "avx2"


def asked() -> str:
    """One of the five; BadConfiguration if the variable says anything else."""
    wish = os.environ.get(VARIABLE, AUTO)
    if wish not in (AUTO, REQUIRED, OFF, IFMA, AVX2):
        raise BadConfiguration(f"{VARIABLE} is {wish!r}, and must be auto, required, off, ifma or avx2")
    return wish
