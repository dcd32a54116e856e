"""The machine line under every figure."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gmpy2

from twinveil.container import processors
from twinveil.version import VERSION


def host() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "processor": _processor(),
        "cores": processors(),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "gmp": gmpy2.mp_version(),
        "gmpy2": version("gmpy2"),
        "numpy": version("numpy"),
        "twinveil": VERSION,
    }


def line(facts: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{facts['processor']}, {facts['cores']} cores (load {facts['load']:.1f} at the start), "
        f"{facts['system']}, Python {facts['python']}, {facts['gmp']}"
    )


def _processor() -> str:
    with suppress(OSError):
        for row in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()
