"""Work on all cores: processes for chains of small multiplications, threads for long powers.

Python's lock is held through gmpy2's multiplications, so that chains of them scale over processes only; a
power of a thousand bits is one call that runs without the lock, and two threads do it 1.93 times as fast
(measured). Threads have a second merit: the secret key never crosses a process boundary.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import connection
from typing import TypeVar

import gmpy2
from gmpy2 import mpz

from twinveil.container import processors

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 1
"""How often a batch is done again after a worker died; tasks are pure, so that nothing is used twice."""


class Workers:
    """Maps pure module-level functions over items, in order.

    Workers(): in this process (tests, small work). Workers.processes(n): n spawned processes, which end with
    this one however it ends. Workers(executor, count): any executor, such as Dask's, of the cloud's own
    trust domain. A broken pool costs a retry where it can be made again.
    """

    def __init__(
        self, executor: Executor | None = None, count: int = 1, renew: Callable[[], Executor] | None = None
    ) -> None:
        self._executor = executor
        self._renew = renew
        self._lock = threading.Lock()
        self.count = count

    @classmethod
    def processes(cls, count: int | None = None) -> Workers:
        """`count` spawned processes (default: one for each processor that this process may use)."""
        number = count or processors()

        def renew() -> Executor:
            os.environ["PYTHONSAFEPATH"] = "1"  # else a worker looks for modules in the current folder first
            context = multiprocessing.get_context("spawn")
            return ProcessPoolExecutor(number, mp_context=context, initializer=_start_worker)

        return cls(renew(), number, renew)

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


def powers(
    bases: Sequence[mpz], exponent: mpz, modulus: mpz, threads: int = 1, constant_time: bool = False
) -> list[mpz]:
    """[base^exponent mod modulus], odd modulus, positive exponent, on `threads` threads.

    With `constant_time` gmpy2's powmod_sec: time and memory access independent of the exponent's bits.
    """
    power = gmpy2.powmod_sec if constant_time else gmpy2.powmod

    def run(part: Sequence[mpz]) -> list[mpz]:
        with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
            return [power(base, exponent, modulus) for base in part]

    if threads == 1 or len(bases) < 2:
        return run(bases)
    parts = [bases[start::threads] for start in range(threads)]
    results: list[mpz] = [mpz(0)] * len(bases)
    with ThreadPoolExecutor(threads) as executor:
        for start, part in enumerate(executor.map(run, parts)):
            results[start::threads] = part
    return results
