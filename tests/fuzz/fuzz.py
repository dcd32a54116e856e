"""Structure-aware fuzzing: python -m tests.fuzz.fuzz --target all --count 100000 [--seed 1].

Each target takes one mutated input. A TwinveilError of a planned type, or acceptance, is right; any other
exception is a crash, an input of more than SLOW seconds a hang, and growing memory is reported at the end.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.fuzz.fuzz_files import Target
from tests.fuzz.fuzz_steps import Conversations
from tests.fuzz.fuzz_targets import targets
from tests.security.conftest import impatient
from tests.security.ends import CRASH, End, attempt

SLOW = 5.0
GROWTH = 64 << 20
"""Bytes of resident memory: of a run beyond its first tenth, and of an input in a process of its own."""


@dataclass
class Report:
    """What became of one target's inputs."""

    inputs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    crashes: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    slowest_input: int = 0
    growth: int = 0
    seconds: float = 0.0

    def add(self, index: int, end: End) -> None:
        self.inputs += 1
        self.ends[end.kind] += 1
        self.growth = max(self.growth, end.growth)
        if end.kind == CRASH:
            self.crashes.setdefault(end.crash, f"{index}: {end.text}")
        if end.seconds > self.slowest:
            self.slowest, self.slowest_input = end.seconds, index

    @property
    def good(self) -> bool:
        return not self.crashes and self.slowest < SLOW and self.growth < GROWTH

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.ends.most_common(6))
        slowest = f"slowest {self.slowest:.2f} s (input {self.slowest_input})"
        faults = f"{len(self.crashes)} crashes, {slowest}, growth {self.growth >> 20} MiB"
        return f"{self.inputs} inputs in {self.seconds:.0f} s: {faults} ({kinds})"


def run(target: Target, count: int, seed: int) -> Report:
    """`count` inputs; input i depends on seed and i alone, so that a crash is made again by its number."""
    report, process = Report(), psutil.Process()
    begin, level = time.monotonic(), 0
    gc.freeze()  # what lives already is not looked through again for each target
    try:
        inputs = ((index, random.Random(f"{seed} {index}")) for index in range(count))
        for index, end in _ends(target, inputs):
            report.add(index, end)
            if report.inputs == count // 10:
                gc.collect()
                level = process.memory_info().rss
        gc.collect()
        if count > 10:
            report.growth = max(report.growth, process.memory_info().rss - level)
    finally:
        gc.unfreeze()
    report.seconds = time.monotonic() - begin
    return report


def _ends(target: Target, inputs: Iterable[tuple[int, random.Random]]) -> Iterator[tuple[int, End]]:
    if isinstance(target, Conversations):
        return target.ends(inputs)
    return ((index, attempt(partial(target, source))) for index, source in inputs)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Fuzz both clouds' entry points and all file parsers.")
    parser.add_argument("--target", default="all")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable()
    bad = tried = 0
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        for name, target in targets(Path(folder)):
            if options.target not in ("all", name):
                continue
            report = run(target, options.count, options.seed)
            bad += not report.good
            tried += 1
            print(f"{name:32} {report.line()}", flush=True)
            for kind, place in report.crashes.items():
                print(f"  {kind}\n  input {place}", flush=True)
    if not tried:
        parser.error(f"there is no target {options.target}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
