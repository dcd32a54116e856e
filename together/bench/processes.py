"""Processor time and memory of the clouds' processes, their workers included."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

CLOUDS = ("cloud_s1", "cloud_s2")
SAMPLE_SECONDS = 0.05
MIB = 1 << 20


def family(pid: int) -> list[psutil.Process]:
    """A process and everything that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def processor_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system time so far, by role."""
    found = {}
    for role in CLOUDS:
        found[role] = 0.0
        for process in family(pids[role]):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[role] += times.user + times.system
    return found


def resident(pid: int) -> int:
    """Bytes in memory; pages that processes share count for each of them."""
    total = 0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


class Peaks:
    """Largest memory of each cloud since `restart`, in MiB."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._lock = threading.Lock()

    def see(self, role: str, size: int) -> None:
        with self._lock:
            self._peaks[role] = max(self._peaks.get(role, 0), size)

    def restart(self) -> dict[str, float]:
        """The peaks so far, which are forgotten."""
        with self._lock:
            peaks, self._peaks = self._peaks, {}
        return {role: size / MIB for role, size in peaks.items()}


@contextmanager
def watched(pids: Mapping[str, int]) -> Iterator[Peaks]:
    """Samples the clouds' memory until the block ends."""
    peaks, ended = Peaks(), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for role in CLOUDS:
                peaks.see(role, resident(pids[role]))

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()
