"""Workers keep order, pass errors on, outlive a killed worker and not their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from twinveil.errors import LostWorkers, PeerUnavailable
from twinveil.parallel import INLINE, Workers


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


def test_where_work_is_done() -> None:
    """On threads of this process, or apart."""
    with Workers.threads(3) as threads, Workers.processes(2) as processes:
        assert [(each.apart, each.here) for each in (INLINE, threads, processes)] == [
            (False, 1),
            (False, 3),
            (True, 1),
        ]
        assert threads.map(square, range(3)) == [0, 1, 4]
    assert not Workers(ThreadPoolExecutor(1), 1).apart  # one alone would only be waited for


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


class Faulty(Executor):
    """Lost, or not; counts how often it was shut down."""

    def __init__(self, lost: bool) -> None:
        self.lost = lost
        self.ends = 0

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        if self.lost:
            raise LostWorkers("the machines are away")
        return map(function, *iterables)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.ends += 1


def test_while_nothing_takes_its_place_an_executor_stays_and_the_next_batch_asks_again() -> None:
    first, second = Faulty(lost=True), Faulty(lost=False)
    found: list[Executor | Exception] = [PeerUnavailable("not yet"), PeerUnavailable("nor now"), second]

    def renew() -> Executor:
        assert first.ends == 0
        each = found.pop(0)
        if isinstance(each, Exception):
            raise each
        return each

    workers = Workers(first, 2, renew)
    for message in ("not yet", "nor now"):
        with pytest.raises(PeerUnavailable, match=message):
            workers.map(square, range(3))
    assert workers.map(square, range(3)) == [0, 1, 4]
    assert (first.ends, second.ends) == (1, 0)


def test_workers_that_are_lost_again_are_an_error_for_a_person() -> None:
    workers = Workers(Faulty(lost=True), 2, lambda: Faulty(lost=True))
    with pytest.raises(PeerUnavailable, match="the machines are away"):
        workers.map(square, range(3))


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


ONE_BATCH = """
from twinveil.parallel import Workers
if __name__ == "__main__":
    with Workers.processes(2) as workers:
        print(workers.map(abs, [-1, -2]))
"""


def test_workers_run_no_file_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("multiprocessing", "gmpy2", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the current folder ran')")
    (tmp_path / "batch").mkdir()
    script = tmp_path / "batch" / "batch.py"
    script.write_text(ONE_BATCH)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("[1, 2]\n", "")
