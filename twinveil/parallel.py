"""Work on all cores: threads where it runs without Python's lock, processes or machines where it does not.

Native arithmetic releases the lock, and so does gmpy2 in a long power, but not through its multiplications:
chains of them scale over processes only. The secret key never crosses a process boundary: its powers run on
threads always.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing import connection
from typing import TypeVar

from twinveil.container import processors

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 1
"""How often a batch is done again after a worker died; tasks are pure, so that nothing is used twice."""


class Workers:
    """Maps pure module-level functions over items, in order.

    Workers(): in this process (tests, small work). Workers.threads(n): likewise, and what runs without
    Python's lock uses n threads. Workers.processes(n): n spawned processes, which end with this one however
    it ends. Workers(executor, count): any executor, such as Dask's, of the cloud's own trust domain. A broken
    pool costs a retry where it can be made again.
    """

    def __init__(
        self, executor: Executor | None = None, count: int = 1, renew: Callable[[], Executor] | None = None
    ) -> None:
        self._executor = executor
        self._renew = renew
        self._lock = threading.Lock()
        self.count = count

    @classmethod
    def threads(cls, count: int | None = None) -> Workers:
        """`count` threads (default: one for each processor that this process may use)."""
        return cls(count=count or processors())

    @classmethod
    def processes(cls, count: int | None = None) -> Workers:
        """`count` spawned processes (default: one for each processor that this process may use)."""
        number = count or processors()

        def renew() -> Executor:
            os.environ["PYTHONSAFEPATH"] = "1"  # else a worker looks for modules in the current folder first
            context = multiprocessing.get_context("spawn")
            return ProcessPoolExecutor(number, mp_context=context, initializer=_start_worker)

        return cls(renew(), number, renew)

    @property
    def apart(self) -> bool:
        """Whether there are some in other processes or on other machines, to which work goes as bytes."""
        return self._executor is not None and self.count > 1

    @property
    def here(self) -> int:
        """Threads of this process that compute: all workers, or one where they are apart."""
        return 1 if self.apart else self.count

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """[function(item) for item in items]; the first exception is raised as it is."""
        if self._executor is None:
            return [function(item) for item in items]
        batch = list(items)
        for _ in range(RETRIES):
            executor = self._executor
            try:
                return list(executor.map(function, batch))
            except BrokenExecutor:
                if self._renew is None:
                    raise
                self._replace(executor, self._renew)
        return list(self._executor.map(function, batch))

    def _replace(self, broken: Executor, renew: Callable[[], Executor]) -> None:
        with self._lock:
            if self._executor is not broken:
                return
            self._executor = renew()  # if there is none to be had, the next batch asks again
        broken.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


INLINE = Workers()
"""No other process: everything where it is called."""


def _start_worker() -> None:
    """In a new worker: one BLAS thread, Ctrl-C is the parent's affair, and no life without the parent."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
