"""What can be set for each role. House numbers: owner 7000, cloud_s1 7001, cloud_s2 7002, user 7003,
sealing 7004."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from twinveil.errors import BadConfiguration
from twinveil.params import KEY_BITS, MIN_KEY_BITS
from twinveil.services.keys import PIN, KnownKey
from twinveil.start.config import (
    choice,
    duration,
    memory,
    number,
    path,
    positive,
    renamed,
    setting,
    size,
    text,
    truth,
    up_to,
)
from twinveil.transport.address import check, split
from twinveil.transport.channel import MAX_MESSAGE_BYTES, Me
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.limits import CallLimits, RpcLimits
from twinveil.transport.server import ServerSettings

DASK = "tls://"
MAX_CALLS = 1 << 16
MAX_WORKERS = 1 << 12
MAX_IMPORTS = 2
"""Models that a cloud takes in at once."""
MAX_OWNER_IMPORTS = 1
"""Of these, models of one owner: a half that its owner never completes leaves a place to the others."""
KEPT_FREE = 16
"""Calls that S1's conversations leave to others at S2."""
KEPT_FOR_S1 = 4
"""One in so many of the calls at S2 is for S1's conversations: all clients together do not take it."""
MAX_PREPARED = 64
"""Items that S1 keeps ready, of all models."""
PREPARED = 8
"""Of each model in use: two queries of four pictures. Of the default network 20 MiB at S1, 150 at S2."""
FAILED_ITEMS = 32
FAILED_ITEM_EVERY = 60.0
USER_SHARE = 50


def dask_address(value: Any) -> str:
    """tls://HOST:PORT, as Dask writes it; without TLS it is not reached at all."""
    address = text(value)
    if not address.startswith(DASK):
        raise BadConfiguration(f"must be tls://HOST:PORT, not '{address}': Dask is reached over TLS only")
    split(address.removeprefix(DASK))
    return address


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSettings:
    """What every role has."""

    role: ClassVar[str]
    section: ClassVar[str] = ""
    """Its table in the TOML file, where that is not the role's name."""
    listen: str

    state: Path = setting(path, "folder for keys, models and records", Path(".twinveil"))
    name: str = setting(text, "name of this instance, as in its certificate", "main")
    tls: Path | None = setting(path, "folder with authority.pem, certificate.pem and key.pem", None)
    insecure_plaintext: bool = setting(truth, "no TLS; loopback only, for experiments", False)
    ready_file: Path | None = setting(path, "file to write role, host, port and pid to when ready", None)
    until_stdin_closes: bool = setting(truth, "end when stdin closes: the launcher is gone", False)
    log_level: str = setting(
        choice("debug", "info", "warning", "error"), "least severity that is logged to stderr", "info"
    )
    max_calls: int = setting(up_to(MAX_CALLS, low=1), "calls that are served at once", 64)
    max_message: int = setting(size, "largest single message that is accepted", MAX_MESSAGE_BYTES)
    idle_connection: float = setting(duration, "how long a connection may be open without a call", 30.0)
    grace: float = setting(duration, "time that running calls get at the end", 5.0)
    connect_wait: float = setting(duration, "how long to wait for another role to answer", 10.0)
    insecure_small_key: bool = setting(truth, f"allow a key below {MIN_KEY_BITS} bits, for tests only", False)

    def credentials(self) -> TlsFiles | None:
        """The files for mutual TLS, or None for insecure plaintext; BadConfiguration for neither or both."""
        if (self.tls is None) == (not self.insecure_plaintext):
            raise BadConfiguration(
                f"{self.role}: give either --tls FOLDER or --insecure-plaintext (loopback only)"
            )
        return None if self.tls is None else TlsFiles.in_folder(self.tls)

    def me(self) -> Me:
        """In whose name this role calls others."""
        return Me(self.role, self.name, self.credentials())

    def s2_key(self) -> KnownKey:
        """How far S2's key is known here; S2's own settings insist on no fingerprint."""
        return KnownKey(self.state / PIN, getattr(self, "fingerprint", None), self.insecure_small_key)

    def limits(self) -> RpcLimits:
        """Of single RPCs."""
        return {}

    def kept_for_s1(self) -> int:
        """Calls that no client takes."""
        return 0

    def server(self) -> ServerSettings:
        return ServerSettings(
            role=self.role,
            listen=self.listen,
            tls=self.credentials(),
            insecure_plaintext=self.insecure_plaintext,
            ready_file=self.ready_file,
            until_stdin_closes=self.until_stdin_closes,
            max_calls=self.max_calls,
            kept_for_s1=self.kept_for_s1(),
            max_message_bytes=self.max_message,
            idle_connection=self.idle_connection,
            grace=self.grace,
            limits=self.limits(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings(RoleSettings):
    """What both clouds have."""

    max_queries: int = setting(positive, "queries that are computed at once", 8)
    max_user_queries: int = setting(positive, "of these, queries of one user", 6)
    query_deadline: float = setting(duration, "longest time for a query", 3600.0)
    import_deadline: float = setting(duration, "longest time for a model on its way in", 7200.0)
    idle_client: float = setting(duration, "longest silence of a client that is sending", 30.0)
    workers: int = setting(up_to(MAX_WORKERS), "threads (gmpy2: processes) that compute; 0: one a core", 0)
    record: Path | None = setting(path, "folder to write this cloud's view of every conversation to", None)

    def limits(self) -> RpcLimits:
        query, import_ = self.query_deadline, self.import_deadline
        return {
            "/twinveil.rpc.Inference/Classify": CallLimits(
                query, self.idle_client, self.max_queries, self.max_user_queries
            ),
            "/twinveil.rpc.Provision/Outsource": CallLimits(
                import_, self.idle_client, MAX_IMPORTS, MAX_OWNER_IMPORTS
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudS1Settings(CloudSettings):
    """Cloud S1: holds the encrypted models and computes on ciphertexts."""

    role: ClassVar[str] = "cloud_s1"

    listen: str = setting(check, "HOST:PORT to listen on", "127.0.0.1:7001")
    cloud_s2: str = setting(check, "address of cloud S2", "127.0.0.1:7002")
    round_deadline: float = setting(duration, "longest wait for one answer of cloud S2", 120.0)
    prepare: int = setting(
        up_to(MAX_PREPARED),
        f"items kept ready for each model in use, one picture each, {MAX_PREPARED} in all; 0: none",
        PREPARED,
    )
    failed_items: int = setting(
        up_to(1 << 16, low=1),
        "items that a user's failed queries may cost before others are refused",
        FAILED_ITEMS,
    )
    failed_item_every: float = setting(
        duration, "time after which one of these is forgotten", FAILED_ITEM_EVERY
    )
    user_share: int = setting(
        up_to(100, low=1),
        "percentage of the items that lie ready which one user takes while others ask, too",
        USER_SHARE,
    )
    max_query_memory: int | None = setting(
        memory,
        "memory that items and queries may take at once (default: half of what this process can have)",
        None,
    )
    fingerprint: str | None = setting(text, "S2's key fingerprint (hex) to insist on", None)
    dask: str | None = setting(
        dask_address, "tls://HOST:PORT of S1's own Dask scheduler, whose workers compute", None, was="cluster"
    )
    dask_tls: Path | None = setting(
        path, "folder with Dask's certificates, as for tls", None, was="cluster_tls"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudS2Settings(CloudSettings):
    """Cloud S2: makes and keeps the secret key; sees masked values only."""

    role: ClassVar[str] = "cloud_s2"

    listen: str = setting(check, "HOST:PORT to listen on", "127.0.0.1:7002")
    key_bits: int | None = setting(
        number,
        f"length of the Paillier modulus of a new key (default: {KEY_BITS}); a key that is there is kept",
        None,
    )
    max_query_memory: int | None = setting(
        memory, "memory that items may take at once (default: half of what this process can have)", None
    )
    unclaimed_half: float = setting(
        duration, "longest wait of a client's half for cloud S1 to begin, which may make items first", 900.0
    )
    idle_conversation: float = setting(
        duration,
        "longest silence of cloud S1 in a conversation: items that lie ready end with theirs",
        3600.0,
    )

    def limits(self) -> RpcLimits:
        # Items may lie ready for idle_conversation before one is spent.
        whole = self.idle_conversation + max(self.query_deadline, self.import_deadline)
        most = max(1, self.max_calls - KEPT_FREE)
        conversation = CallLimits(whole, self.idle_conversation, per_caller=most)
        return {**CloudSettings.limits(self), "/twinveil.rpc.Rounds/Converse": conversation}

    def kept_for_s1(self) -> int:
        return self.max_calls // KEPT_FOR_S1


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerSettings(RoleSettings):
    """The owner: trains, outsources, and tells users what they need to ask."""

    role: ClassVar[str] = "owner"

    listen: str = setting(check, "HOST:PORT to listen on", "127.0.0.1:7000")
    cloud_s1: str = setting(check, "address of cloud S1", "127.0.0.1:7001")
    cloud_s2: str = setting(check, "address of cloud S2", "127.0.0.1:7002")
    fingerprint: str | None = setting(text, "S2's key fingerprint (hex) to insist on", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings(RoleSettings):
    """The user: classifies pictures, for itself and for programs on its machine."""

    role: ClassVar[str] = "user"

    listen: str = setting(check, "HOST:PORT to listen on; loopback only", "127.0.0.1:7003")
    owner: str = setting(check, "address of the owner's service", "127.0.0.1:7000")
    cloud_s1: str = setting(check, "address of cloud S1", "127.0.0.1:7001")
    cloud_s2: str = setting(check, "address of cloud S2", "127.0.0.1:7002")
    fingerprint: str | None = setting(text, "S2's key fingerprint (hex) to insist on", None)
    max_message: int = setting(size, "largest picture file that is accepted", 16 << 20)
    query_deadline: float = setting(duration, "longest time for a query", 3600.0)

    def limits(self) -> RpcLimits:
        return {"/twinveil.rpc.Gateway/Classify": CallLimits(self.query_deadline)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingSettings(RoleSettings):
    """The sealing server: the owner's second process, which enrols accounts and verifies sealed pictures."""

    role: ClassVar[str] = "owner"
    section: ClassVar[str] = "sealing"

    listen: str = setting(check, "HOST:PORT to listen on", "127.0.0.1:7004")
    networks: Path = setting(path, "folder of the trained networks", Path(".twinveil/sealing/networks"))
    factor: str = setting(choice("variational", "adversarial"), "the first factor's way", "variational")
    sign_versions: str = setting(text, "sign_versions that are accepted, such as 1,3", "1,2,3")
    clock_window: float = setting(duration, "how far a device's clock may be off", 120.0)
    most_misses: int = setting(positive, "failed attempts that lock an account", 10)
    miss_window: float = setting(duration, "how long an account stays locked", 900.0)
    metrics: str | None = setting(check, "loopback HOST:PORT that Prometheus asks for metrics", None)

    def limits(self) -> RpcLimits:
        # Their one message is a picture, which takes its time on a slow line.
        return {f"/twinveil.rpc.Sealing/{name}": CallLimits() for name in ("Enrol", "Verify")}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings(RoleSettings):
    """A device that seals: it speaks with the user's certificate."""

    role: ClassVar[str] = "user"
    section: ClassVar[str] = "device"

    listen: str = setting(check, "HOST:PORT of the local page; loopback only", "127.0.0.1:7005")
    sealing: str = setting(check, "address of the sealing server", "127.0.0.1:7004")
    device: str | None = setting(text, "the device's serial number, at its first use", None)
    sign_version: int = setting(positive, "how envelopes are sealed: 1, 2 or 3", 1)
    sealing_fingerprint: str | None = setting(
        text, "the sealing server's fingerprint (hex) to insist on", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolSettings(RoleSettings):
    """The operator's commands to the sealing server: they speak with the owner's certificate."""

    role: ClassVar[str] = "owner"
    section: ClassVar[str] = "operator"

    listen: str = setting(check, "not used", "127.0.0.1:0")
    sealing: str = setting(check, "address of the sealing server", "127.0.0.1:7004")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSettings:
    """For a command that calls the roles without being one: it speaks with the user's certificate."""

    role: ClassVar[str] = "user"
    section: ClassVar[str] = ""

    name: str = setting(text, "name of this instance, as in its certificate", "main")
    tls: Path | None = setting(path, "folder with authority.pem, certificate.pem and key.pem", None)
    insecure_plaintext: bool = setting(truth, "no TLS; loopback only, for experiments", False)
    connect_wait: float = setting(duration, "how long to wait for a role to answer", 3.0)
    owner: str = setting(check, "address of the owner's service", "127.0.0.1:7000")
    cloud_s1: str = setting(check, "address of cloud S1", "127.0.0.1:7001")
    cloud_s2: str = setting(check, "address of cloud S2", "127.0.0.1:7002")
    user: str = setting(check, "address of the user's service", "127.0.0.1:7003")

    def me(self) -> Me:
        if (self.tls is None) == (not self.insecure_plaintext):
            raise BadConfiguration("give either --tls FOLDER or --insecure-plaintext (loopback only)")
        return Me(self.role, self.name, None if self.tls is None else TlsFiles.in_folder(self.tls))


EVERY_SETTING = frozenset(
    name
    for kind in (
        CloudS1Settings,
        CloudS2Settings,
        OwnerSettings,
        UserSettings,
        SealingSettings,
        DeviceSettings,
        EnrolSettings,
        CallerSettings,
    )
    for name in (*(each.name for each in fields(kind)), *renamed(kind))
)
"""Old names included."""
