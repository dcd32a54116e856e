"""A cloud's big-integer work on more than one machine: Dask distributed over TLS, behind Workers.

The cluster belongs to the cloud's own trust domain: its workers see what the cloud sees (ciphertexts, S1's
shares and masks), and they unpickle what the cloud sends, which nothing that comes from a peer ever is. So it
has certificates of its own authority: with the roles' authority any user could join and read along.

    export DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION=1.3
    dask scheduler --tls-ca-file authority.pem --tls-cert certificate.pem --tls-key key.pem
        --dashboard-address 127.0.0.1:8787
    dask worker tls://HOST:8786 --nthreads 1 --nworkers auto --tls-ca-file ... --dashboard-address 127.0.0.1:0
    twinveil serve cloud_s1 --cluster tls://HOST:8786 --cluster-tls FOLDER

S1 speaks TLS 1.3 only; the variable makes Dask's own processes do so, too. Their web pages are plaintext for
anyone who reaches them: hence loopback.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.net.credentials import TlsFiles
from twinveil.parallel import Workers

CONNECT_SECONDS = 20.0

Result = TypeVar("Result")


def cluster_workers(address: str, folder: Path) -> Workers:
    """Workers on the Dask cluster at tls://HOST:PORT, as many as it has threads now.

    folder: authority.pem, certificate.pem and key.pem of the cluster's authority. A worker that dies costs
    its tasks a retry; a scheduler that was away is looked for again with the next batch.

    Raises BadConfiguration without the extra or for an address without TLS, PeerUnavailable if there is no
    cluster or it has no workers.
    """
    if not address.startswith("tls://"):
        raise BadConfiguration(f"a cluster is reached over TLS only: tls://HOST:PORT, not {address!r}")
    files = TlsFiles.in_folder(folder)
    executor = ClusterExecutor(address, files)
    count = executor.threads()
    if not count:
        executor.shutdown()
        raise PeerUnavailable(f"the cluster at {address} has no workers")
    return Workers(executor, count, lambda: ClusterExecutor(address, files))


class ClusterExecutor(Executor):
    """distributed's executor with a client of its own, and a lost cluster as BrokenExecutor."""

    def __init__(self, address: str, files: TlsFiles) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise BadConfiguration("a cluster needs Dask: pip install 'twinveil[cluster]'") from None
        security = distributed.Security(
            tls_ca_file=str(files.authority),
            tls_client_cert=str(files.certificate),
            tls_client_key=str(files.key),
            tls_min_version=ssl.TLSVersion.TLSv1_3,
            require_encryption=True,
        )
        try:
            self._client = distributed.Client(
                address, security=security, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:  # ValueError: certificates that cannot be used
            raise PeerUnavailable(f"the cluster at {address} does not answer: {error}") from None
        self._lost: tuple[type[BaseException], ...] = (
            OSError,
            distributed.CancelledError,
            distributed.KilledWorker,
        )
        # pure would give equal orders one answer, and one draw of nonces twice: never.
        self._executor = self._client.get_executor(pure=False)

    def threads(self) -> int:
        """Tasks that the cluster can run at once."""
        return sum(self._client.ncores().values())

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        made: Future[Result] = self._executor.submit(fn, *args, **kwargs)
        return made

    def map(self, fn: Callable[..., Result], *iterables: Iterable[Any], **_: Any) -> Iterator[Result]:
        """Results in order; nothing is submitted before the first is asked for."""
        return self._results(lambda: self._executor.map(fn, *iterables))

    def _results(self, start: Callable[[], Iterator[Result]]) -> Iterator[Result]:
        try:
            yield from start()
        except self._lost as error:
            raise BrokenExecutor(f"the cluster was lost: {type(error).__name__}") from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()
