"""Structure-aware fuzzing: python -m tests.security.fuzz --target all --count 100000 [--seed 1].

Each target takes one mutated input. A TwinveilError, or acceptance, is right; any other exception is a crash,
an input of more than SLOW seconds a hang, and memory that keeps growing is reported at the end.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.security.conftest import impatient
from tests.security.fuzz_targets import targets
from twinveil.errors import TwinveilError

SLOW = 5.0
GROWTH = 64 << 20
"""Bytes of resident memory beyond what the first tenth of a run needed."""

Target = Callable[[random.Random], None]
"""Makes one input from the generator and hands it over."""


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
    for index in range(count):
        started = time.monotonic()
        try:
            target(random.Random(f"{seed} {index}"))
            report.ends["accepted"] += 1
        except TwinveilError as error:
            report.ends[type(error).__name__] += 1
        except Exception as error:
            *_, last, text = traceback.format_exception(error)
            report.ends["CRASH"] += 1
            report.crashes.setdefault(f"{type(error).__name__} at {last.strip()}", f"{index}: {text}")
        taken = time.monotonic() - started
        if taken > report.slowest:
            report.slowest, report.slowest_input = taken, index
        if index == count // 10:
            gc.collect()
            level = process.memory_info().rss
    gc.collect()
    report.growth = max(0, process.memory_info().rss - level) if count > 10 else 0
    report.inputs, report.seconds = count, time.monotonic() - begin
    return report


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Fuzz both clouds' entry points and all file parsers.")
    parser.add_argument("--target", default="all")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    bad = 0
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        found: Mapping[str, Target] = targets(Path(folder))
        names = list(found) if options.target == "all" else [options.target]
        for name in names:
            report = run(found[name], options.count, options.seed)
            bad += not report.good
            print(f"{name:24} {report.line()}", flush=True)
            for kind, place in report.crashes.items():
                print(f"  {kind}\n  input {place}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
