"""How much of its machine this process may use: memory and processors, within the limits of its containers.

A container's limits are those of control groups, of version 1 or 2, and of every group above. Neither the
machine's memory nor its count of processors tells of them. `root` is / but for tests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path("/")

_OWN = re.compile(r"^\d+:([^:\n]*):(/.*)$", re.MULTILINE)
"""Of /proc/self/cgroup: controllers (none in version 2), group."""
_MOUNT = re.compile(r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - cgroup(2?) \S+ (\S+)$", re.MULTILINE)
"""Of /proc/self/mountinfo: the group that is mounted, where, version, controllers among the options."""


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that this process can have at most."""
    limits = [limit for group in _groups("memory", root) for limit in _memory_limits(group)]
    return min([int(psutil.virtual_memory().total), *limits])


def memory_free(root: Path = ROOT) -> int:
    """Bytes that are there for it now; what only caches files counts as free."""
    found = int(psutil.virtual_memory().available)
    for group in _groups("memory", root):
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        cached = _cached(group / "memory.stat")
        found = min([found, *(max(0, limit - max(0, used - cached)) for limit in _memory_limits(group))])
    return found


def processors(root: Path = ROOT) -> int:
    """Processors that keep this process busy at most, at least 1: a part of one counts as one."""
    counts = [len(os.sched_getaffinity(0))]
    for group in _groups("cpu", root):
        quota, period = _quota(group)
        if quota > 0 and period > 0:
            counts.append(-(-quota // period))
    return min(counts)


def _memory_limits(group: Path) -> list[int]:
    """Hard limits, and that from which on a group is slowed down. Version 1 says a huge number for none."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    return [limit for name in names if (limit := _number(group / name)) is not None]


def _quota(group: Path) -> tuple[int, int]:
    """Microseconds of processors in so many microseconds; 0 or less for no limit."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return (0 if quota == "max" else int(quota)), int(period)
    return _number(group / "cpu.cfs_quota_us") or 0, _number(group / "cpu.cfs_period_us") or 0


def _cached(stat: Path) -> int:
    """Bytes that a group gives back before it is out of memory. Version 1 sums groups below under total_."""
    found = {}
    with suppress(OSError, ValueError):
        for line in stat.read_text(encoding="utf-8").splitlines():
            name, value = line.split()
            found[name] = int(value)
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _number(file: Path) -> int | None:
    """None where there is none: no such file, or "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text(encoding="utf-8"))
    return None


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's control group and of all above it, as far as they can be seen."""
    own = {
        name: found[2] for found in _found(_OWN, root / "proc/self/cgroup") for name in found[1].split(",")
    }
    for mount in _found(_MOUNT, root / "proc/self/mountinfo"):
        top, place, version, options = mount.groups()
        hierarchy = "" if version else controller  # version 2 has one for all
        if hierarchy not in own or (hierarchy and hierarchy not in options.split(",")):
            continue
        group = Path(own[hierarchy])
        # What is mounted in a container may begin at its own group, or leave no way to it.
        inside = group.relative_to(top) if group.is_relative_to(top) and ".." not in group.parts else Path()
        folder = root / place.lstrip("/") / inside
        yield from [folder, *folder.parents][: len(inside.parts) + 1]


def _found(line: re.Pattern[str], file: Path) -> list[re.Match[str]]:
    with suppress(OSError):
        return list(line.finditer(file.read_text(encoding="utf-8", errors="replace")))
    return []
