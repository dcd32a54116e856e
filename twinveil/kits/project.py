"""project.toml: who takes part, on which hosts, for how long; checked whole before anything is made of it.

name = "clinic"

[owner]
host = "owner.example.org"          port, listen and names may follow
[cloud_s1]
host = "s1.example.org"
[cloud_s2]
host = "s2.example.org"
[users.alice]                       one table a user; users listen on their own machine only
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.params import Params
from twinveil.start.config import number, positive, read_toml, refuse_unknown, truth
from twinveil.transport.address import is_loopback, usual
from twinveil.transport.certificates import AUTHORITY_DAYS, ROLE_DAYS
from twinveil.transport.credentials import SUFFIX

PORTS = {"owner": 7000, "cloud_s1": 7001, "cloud_s2": 7002, "user": 7003}
SERVING = ("owner", "cloud_s1", "cloud_s2")
MAX_DAYS = 36_500
LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # the certificate, not the interface, says who may come

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Member:
    """One role on one host: what its kit is made of.

    host: as the others reach it. listen: HOST:PORT to bind. names: further names for the certificate's SAN.
    """

    role: str
    name: str
    host: str
    port: int
    listen: str
    names: tuple[str, ...] = ()

    @property
    def kit(self) -> str:
        """Its folder."""
        return f"user-{self.name}" if self.role == "user" else self.role

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Project:
    """All that is known of a deployment."""

    name: str
    members: Mapping[str, Member] = field(repr=False)
    role_days: int = ROLE_DAYS
    authority_days: int = AUTHORITY_DAYS
    key_bits: int | None = None
    insecure_small_key: bool = False


def read_project(file: Path) -> Project:
    """The project by its kits' names. Raises BadConfiguration, naming file, table and key at fault."""
    content = read_toml(file)
    top = _Table(str(file), content)
    top.only("name", "validity", "owner", "cloud_s1", "cloud_s2", "users", "insecure_small_key")
    name = top.name("name")
    validity = top.table("validity", {})
    validity.only("role_days", "authority_days")
    small = top.get("insecure_small_key", truth, False)
    roles = [_serving(role, name, top.table(role)) for role in SERVING]
    bits = top.table("cloud_s2").get("key_bits", number, None)
    if bits is not None:
        _allowed(f"{file}: [cloud_s2] key_bits", lambda: Params(bits, insecure_small_key=small))
    members = {each.kit: each for each in (*roles, *_users(top.table("users")))}
    _refuse_shared(file, list(members.values()))
    project = Project(
        name,
        members,
        validity.get("role_days", _days, ROLE_DAYS),
        validity.get("authority_days", _days, AUTHORITY_DAYS),
        bits,
        small,
    )
    if project.role_days > project.authority_days:
        raise BadConfiguration(f"{file}: [validity] role_days: longer than authority_days")
    return project


def _serving(role: str, name: str, table: _Table) -> Member:
    table.only("host", "port", "listen", "names", *(["key_bits"] if role == "cloud_s2" else []))
    host, port = table.get("host", _host), table.get("port", _port, PORTS[role])
    bound = table.get("listen", _host, host if is_loopback(host) else EVERYWHERE)
    return Member(role, name, host, port, f"{bound}:{port}", table.get("names", _hosts, ()))


def _users(users: _Table) -> list[Member]:
    made = []
    for name in users.values:
        if not _NAME.fullmatch(name):
            raise BadConfiguration(
                f"{users.where} '{name}' is no user's name: letters, digits, '.', '_', '-'"
            )
        table = users.table(name)
        table.only("port")
        port = table.get("port", _port, PORTS["user"])
        made.append(Member("user", name, LOOPBACK, port, f"{LOOPBACK}:{port}"))
    if not made:
        raise BadConfiguration(f"{users.where} there is no user: add a table such as [users.alice]")
    return made


def _refuse_shared(file: Path, members: list[Member]) -> None:
    """Users are on machines of their own; whoever serves needs an address of its own."""
    seen: dict[str, str] = {}
    for member in members:
        if member.role == "user":
            continue
        other = seen.setdefault(member.address, member.kit)
        if other != member.kit:
            raise BadConfiguration(f"{file}: [{member.kit}] and [{other}] have the same host and port")


@dataclass(frozen=True, slots=True)
class _Table:
    """Part of the file, and where it is, for messages."""

    where: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.where.endswith("]"):
            object.__setattr__(self, "where", f"{self.where}:")

    def only(self, *known: str) -> None:
        for name in self.values:
            refuse_unknown(name, frozenset(known), f"{self.where} '{name}'")

    def table(self, name: str, default: Mapping[str, Any] | None = None) -> _Table:
        found = self.values.get(name, default)
        file, _, inside = self.where.partition(": [")
        path = f"{inside.removesuffix(']')}.{name}" if inside else name
        where = f"{file.removesuffix(':')}: [{path}]"
        if not isinstance(found, Mapping):
            raise BadConfiguration(f"{where} is missing" if found is None else f"{where} must be a table")
        return _Table(where, found)

    def name(self, key: str) -> str:
        return str(self.get(key, _name))

    def get(self, key: str, kind: Any, *default: Any) -> Any:
        if key not in self.values:
            if default:
                return default[0]
            raise BadConfiguration(f"{self.where} {key} is missing")
        return _allowed(f"{self.where} {key}", lambda: kind(self.values[key]))


def _allowed(where: str, make: Any) -> Any:
    try:
        return make()
    except TwinveilError as error:
        raise BadConfiguration(f"{where}: {error}") from None


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadConfiguration("must be 1 to 64 letters, digits, '.', '_' and '-'")
    return value


def _host(value: Any) -> str:
    host = usual(value) if isinstance(value, str) else None
    if host is None or not (host.startswith("[") or _HOST.fullmatch(host)):
        raise BadConfiguration("must be a host name or address, without a port or zone")
    if host.endswith(SUFFIX):
        raise BadConfiguration(f"'{value}' is a role's name in certificates: no host's ends with {SUFFIX}")
    return host


def _hosts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise BadConfiguration("must be a list of host names and addresses")
    return tuple(_host(each) for each in value)


def _port(value: Any) -> int:
    return number(value, 1, 65535)


def _days(value: Any) -> int:
    return min(positive(value), MAX_DAYS)
