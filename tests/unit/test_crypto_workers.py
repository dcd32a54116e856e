"""Workers keep order, pass errors on, outlive a killed worker and not their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from gmpy2 import mpz, powmod

from twinveil.parallel import INLINE, Workers, powers


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    if number == 3:
        raise KeyError(number)
    return number


def die_once(path: str) -> str:
    """Kills its own process, the first time."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_inline_and_other_executors() -> None:
    assert INLINE.map(square, range(5)) == [0, 1, 4, 9, 16]
    with Workers(ThreadPoolExecutor(2), 2) as workers:
        assert workers.map(square, range(5)) == [0, 1, 4, 9, 16]


def test_processes_keep_order_and_pass_errors_on() -> None:
    with Workers.processes(2) as workers:
        assert workers.count == 2
        assert workers.map(square, range(50)) == [n * n for n in range(50)]
        with pytest.raises(KeyError):
            workers.map(fail, range(5))
        assert workers.map(square, [7]) == [49]


def test_a_killed_worker_costs_a_retry(tmp_path: Path) -> None:
    with Workers.processes(2) as workers:
        assert workers.map(die_once, [str(tmp_path / "died")]) == ["done"]


PARENT = """
import os, time
from twinveil.parallel import Workers
if __name__ == "__main__":
    workers = Workers.processes(2)
    workers.map(abs, range(8))
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(how)
    parent.wait(20)
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


@pytest.mark.parametrize("constant_time", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_powers(threads: int, constant_time: bool) -> None:
    modulus, exponent = mpz(10**60 + 7), mpz(10**29 + 3)
    bases = [mpz(number) for number in range(2, 12)]
    expected = [powmod(base, exponent, modulus) for base in bases]
    assert powers(bases, exponent, modulus, threads, constant_time) == expected
