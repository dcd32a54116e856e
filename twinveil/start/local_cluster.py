"""The four roles as real processes on this machine: for the demo, the tests and the benchmarks alike.

    with LocalCluster(folder) as cluster:
        ... cluster.pids, cluster.addresses, cluster.me("user") ...

Every role listens on a free loopback port and is ready when its gRPC health service says so over mutual TLS.
The processes are ended and reaped on every way out; should this process be killed outright, they see their
stdin close and end by themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, NoReturn, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twinveil.errors import BadInput, PeerUnavailable
from twinveil.files import lock, private_folder
from twinveil.native import VARIABLE
from twinveil.start.boundary import DEBUG
from twinveil.start.config import PREFIX
from twinveil.start.local_folder import NAME, LocalFolder
from twinveil.start.process import command
from twinveil.transport.address import POLL_SECONDS, Ready
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me, open_channel
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.identity import ROLES

START_SECONDS = 60.0
STOP_SECONDS = 10.0
PEERS = {"cloud_s1": ("cloud_s2",), "cloud_s2": (), "owner": ("cloud_s1", "cloud_s2")}
PEERS["user"] = ("owner", "cloud_s1", "cloud_s2")

OF_EVERY_PROCESS = (DEBUG, VARIABLE)
"""Variables that roles have from here. All others are settings, which a local cluster gives by flags."""

Options = Mapping[str, Sequence[str]]


class LocalCluster:
    """Starts, watches and ends the roles.

    folder: what the roles keep, their logs, certificates and ready files (twinveil.start.local_folder). It
        outlives the cluster: the next one finds the same key and models there.
    options: role -> more command line options of that role.
    deadline: seconds within which all roles must be ready.
    insecure_plaintext: no TLS, to see what it costs; the commands' --cluster does not know such a cluster.

    Its authority lives in memory only: the certificates are new at every start.
    """

    def __init__(
        self,
        folder: Path,
        options: Options | None = None,
        roles: Sequence[str] = ROLES,
        deadline: float = START_SECONDS,
        insecure_plaintext: bool = False,
    ) -> None:
        self.authority = make_authority("Twinveil local cluster")
        self._insecure = insecure_plaintext
        self.folder = folder.absolute()
        self._local = LocalFolder(self.folder)
        self.pids: dict[str, int] = {}
        self.addresses: dict[str, str] = {}
        self._options = options or {}
        self._roles = tuple(roles)
        self._deadline = deadline
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: IO[bytes] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts all roles and waits until they are ready. On any failure none is left running."""
        end = time.monotonic() + self._deadline
        try:
            self._take_folder()
            self._catch_sigterm()
            if not self._insecure:
                self.issue_certificates()
            for role in self._roles:
                self._launch(role)
            for role in self._roles:
                self._await_ready(role, end)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends and reaps every process, softly first. May be called again."""
        try:
            for process in self._processes.values():
                if process.poll() is None:
                    process.terminate()
            end = time.monotonic() + STOP_SECONDS
            for process in self._processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))
        finally:
            for process in self._processes.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its workers, too
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
            self._processes.clear()
            self.pids.clear()
            self.addresses.clear()
            self._restore_signals()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def check(self) -> None:
        """Raises PeerUnavailable if a role has ended in the meantime."""
        for role in self._processes:
            self._check_alive(role)

    def issue_certificates(self) -> None:
        """New ones of the same authority for every role, also while the roles run."""
        for role in ROLES:
            issue(self.authority, role, NAME, self._local.tls(role))

    def me(self, role: str) -> Me:
        """To call others in the name of a role of this cluster."""
        return Me(role, NAME, None if self._insecure else TlsFiles.in_folder(self._local.tls(role)))

    def state(self, role: str) -> Path:
        """What a role keeps."""
        return self._local.state(role)

    def log(self, role: str) -> Path:
        return self._local.log(role)

    def ready_file(self, role: str) -> Path:
        return self._local.ready_file(role)

    def host(self, role: str) -> str:
        """Where a role listens, on a port that is free there."""
        return "127.0.0.1"

    def command(self, role: str) -> list[str]:
        """The command line that runs a role."""
        options = {"listen": f"{self.host(role)}:0", "state": self.state(role), "name": NAME}
        options["ready-file"] = self.ready_file(role)
        for peer in PEERS[role]:
            options[peer.replace("_", "-")] = f"file:{self.ready_file(peer)}"
        flags = [f"--{name}={value}" for name, value in options.items()]
        flags.append("--insecure-plaintext" if self._insecure else f"--tls={self._local.tls(role)}")
        return command(role, *flags, "--until-stdin-closes", *self._options.get(role, ()))

    def _launch(self, role: str) -> None:
        for path in (self.log(role), self.ready_file(role)):
            private_folder(path.parent)
            path.unlink(missing_ok=True)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) or name in OF_EVERY_PROCESS
        }
        with self.log(role).open("wb") as log:
            process = subprocess.Popen(
                self.command(role),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends the roles in order
            )
        self._processes[role] = process
        self.pids[role] = process.pid

    def _await_ready(self, role: str, end: float) -> None:
        while (ready := Ready.read(self.ready_file(role))) is None:
            self.check()
            if time.monotonic() >= end:
                self._fail(role, f"is not ready within {self._deadline:g} s")
            time.sleep(POLL_SECONDS)
        self.addresses[role] = f"{ready.host}:{ready.port}"
        with open_channel(self.me(role), role, self.addresses[role]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not self._is_serving(stub):
                self.check()
                if time.monotonic() >= end:
                    self._fail(role, f"is not healthy within {self._deadline:g} s")

    @staticmethod
    def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=0.5, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def _check_alive(self, role: str) -> None:
        code = self._processes[role].poll()
        if code is not None:
            self._fail(role, f"ended by itself, exit code {code}")

    def _fail(self, role: str, what: str) -> NoReturn:
        lines = self.log(role).read_text(encoding="utf-8", errors="replace").split("\n")
        last = " | ".join(line.strip() for line in lines if line.strip())[-300:]
        raise PeerUnavailable(f"{role} {what}: {last or 'its log is empty'} (log: {self.log(role)})")

    def _take_folder(self) -> None:
        """One cluster a folder: two would write the same models and keys."""
        private_folder(self.folder)
        try:
            self._lock = lock(self._local.lock)
        except BlockingIOError:
            raise BadInput(
                f"{self.folder}: another cluster is running there; end it or use another folder"
            ) from None

    def _catch_sigterm(self) -> None:
        """SIGTERM, too, must unwind the stack, so that the roles are ended; Ctrl-C does that already."""
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _exit)

    def _restore_signals(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave
        self._before.clear()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
