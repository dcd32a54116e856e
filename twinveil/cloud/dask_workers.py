"""A cloud's big-integer work on more than one machine: Dask distributed over TLS, behind Workers.

Scheduler and workers belong to the cloud's own trust domain: they see what the cloud sees (ciphertexts, S1's
shares and masks), and they unpickle what the cloud sends, which nothing that comes from a peer ever is. So
they have certificates of their own authority: with the roles' authority any user could join and read along.
How to set them up: docs/dask.md.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from twinveil.errors import BadConfiguration, LostWorkers, PeerUnavailable
from twinveil.parallel import Workers
from twinveil.start.extras import needs
from twinveil.transport.credentials import TlsFiles

CONNECT_SECONDS = 20.0
NO_WORKERS_SECONDS = 30.0
"""How long a batch waits for a first worker, such as one that starts again."""
LOOK_SECONDS = 2.0
"""Between two looks at Dask while a batch is under way."""

Result = TypeVar("Result")


def dask_workers(address: str, folder: Path) -> Workers:
    """Workers of the Dask scheduler at tls://HOST:PORT, as many as it has threads now.

    folder: authority.pem, certificate.pem and key.pem of Dask's own authority. A worker that dies costs
    its tasks a retry; a scheduler that was away is looked for again with the next batch.

    Raises BadConfiguration without the extra, PeerUnavailable if there is no scheduler or it has no workers.
    """
    files = TlsFiles.in_folder(folder)
    executor = DaskExecutor(address, files)
    count = executor.threads()
    if not count:
        executor.shutdown()
        raise no_workers(address)
    return Workers(executor, count, lambda: DaskExecutor(address, files))


class DaskExecutor(Executor):
    """A client of its own to Dask, which maps; a lost scheduler is LostWorkers."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise BadConfiguration(needs("Dask", "distributed")) from None
        self._address = address
        security = distributed.Security(
            tls_ca_file=str(files.authority),
            tls_client_cert=str(files.certificate),
            tls_client_key=str(files.key),
            tls_min_version=ssl.TLSVersion.TLSv1_3,
            require_encryption=True,
        )
        try:
            self._client = distributed.Client(
                address, security=security, timeout=CONNECT_SECONDS, set_as_default=False, loop=_loop()
            )
        except (OSError, ValueError) as error:  # ValueError: certificates that cannot be used
            raise PeerUnavailable(f"Dask at {address} does not answer: {error}") from None
        self._lost: tuple[type[BaseException], ...] = (
            OSError,
            distributed.CancelledError,
            distributed.KilledWorker,
            distributed.client.ClosedClientError,
        )

    def threads(self) -> int:
        """Tasks that Dask can run at once."""
        return sum(self._client.ncores().values())

    def map(self, fn: Callable[..., Result], *iterables: Iterable[Any], **_: Any) -> Iterator[Result]:
        """Results in order; nothing is submitted before the first is asked for.

        Raises LostWorkers if the scheduler goes away, PeerUnavailable if it has no workers for too long.
        """
        try:
            yield from self._map(fn, *iterables)
        except self._lost as error:
            raise self._gone(type(error).__name__) from error

    def _map(self, fn: Callable[..., Result], *iterables: Iterable[Any]) -> list[Result]:
        self._check_connection()
        # pure would give equal orders one answer, and one draw of nonces twice: never.
        tasks = self._client.map(fn, *iterables, pure=False)
        results: Future[list[Result]] = asyncio.run_coroutine_threadsafe(
            self._client.gather(tasks, asynchronous=True), self._client.loop.asyncio_loop
        )
        try:
            self._wait(results)
            return results.result()
        finally:
            for task in tasks:
                task.release()

    def _wait(self, results: Future[list[Result]]) -> None:
        """Dask itself waits for workers without end."""
        seen = time.monotonic()
        while not wait([results], LOOK_SECONDS).done:
            self._check_connection()
            now = time.monotonic()
            if self.threads():
                seen = now
            elif now - seen > NO_WORKERS_SECONDS:
                raise no_workers(self._address)

    def _check_connection(self) -> None:
        """A client that has lost its scheduler has lost its tasks, too."""
        if self._client.status != "running":
            raise self._gone(f"client {self._client.status}")

    def _gone(self, reason: str) -> LostWorkers:
        return LostWorkers(f"Dask at {self._address} was lost ({reason}): do its machines run?")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._client.close()


@cache
def _loop() -> Any:
    """One thread for all clients: of its own, each would leave one behind that loses its scheduler."""
    runner = import_module("distributed").utils.LoopRunner()
    runner.start()
    return runner.loop


def no_workers(address: str) -> PeerUnavailable:
    return PeerUnavailable(
        f"Dask at {address} has no workers: start some with dask worker {address} (docs/dask.md)"
    )
