"""Start-up kits: one folder for each role, with all that it needs to join, and the authority that made them.

    KITS/authority/       key.pem (0600), authority.pem: issues later certificates; belongs offline
    KITS/cloud_s1/        config.toml  README.md  tls/{authority,certificate,key}.pem
    KITS/user-alice/      likewise

A kit is there whole or not at all, and none is ever written over: certificates are renewed by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cryptography import x509

from twinveil.errors import BadConfiguration
from twinveil.files import PUBLIC, creating_folder, replace
from twinveil.kits.project import Member, Project
from twinveil.kits.texts import FINGERPRINT, configuration, instructions, pinned, settings_of
from twinveil.start.local_cluster import PEERS
from twinveil.transport.certificates import Authority, issue, load_authority, make_authority, save_authority

AUTHORITY = "authority"
CONFIG = "config.toml"
README = "README.md"
TLS = "tls"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Made:
    """What was done for one kit, in a few words."""

    kit: str
    folder: Path
    what: str


def make_kits(
    project: Project, root: Path, fingerprint: str | None = None, keep_authority: bool = True
) -> list[Made]:
    """Makes the kits that are not there yet and leaves the others as they are.

    fingerprint: of S2's key, in hexadecimal, into every kit that has none. keep_authority: False drops the
    authority's key, after which nobody can issue another certificate.

    Raises BadConfiguration, before anything is written, if a kit that is there says otherwise.
    """
    if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
        raise BadConfiguration("a fingerprint is 64 hexadecimal digits, as in S2's log")
    there = [member for member in project.members.values() if _is_taken(root / member.kit)]
    for member in there:
        _refuse_other(project, member, root, fingerprint)
    missing = [member for member in project.members.values() if member not in there]
    authority = _authority(project, root, there, keep_authority) if missing else None
    made = [_keep(member, root, fingerprint) for member in there]
    if authority is not None:
        made += [_make(project, member, authority, root, fingerprint) for member in missing]
    return sorted(made, key=lambda each: list(project.members).index(each.kit))


def renew(project: Project, root: Path, kits: Sequence[str]) -> list[Made]:
    """New keys and certificates of the same authority for kits that are there; "user" is every user's."""
    chosen = [member for kit in kits for member in _named(project, kit)]
    for member in chosen:
        if not (root / member.kit / TLS).is_dir():
            raise BadConfiguration(f"{root / member.kit} is no kit: nothing to renew")
    authority = load_authority(root / AUTHORITY)
    made = []
    for member in chosen:
        end = _issue(project, member, authority, root / member.kit)
        made.append(Made(member.kit, root / member.kit, f"renewed until {end}"))
    return made


def _is_taken(place: Path) -> bool:
    """Also by a link that leads nowhere, of which no kit takes the place."""
    return place.exists() or place.is_symlink()


def _named(project: Project, kit: str) -> list[Member]:
    found = [each for each in project.members.values() if kit in (each.kit, each.role)]
    if not found:
        raise BadConfiguration(f"--renew {kit}: the project has {', '.join(project.members)}")
    return found


def _authority(project: Project, root: Path, there: Sequence[Member], keep: bool) -> Authority:
    folder = root / AUTHORITY
    if folder.exists() and not keep:
        raise BadConfiguration(f"{folder} is there already: no flag discards it, remove its key yourself")
    if folder.exists() or there:
        return load_authority(folder)
    authority = make_authority(f"Twinveil {project.name}", project.authority_days)
    root.mkdir(parents=True, exist_ok=True)
    if keep:
        save_authority(authority, folder)
    return authority


def _refuse_other(project: Project, member: Member, root: Path, fingerprint: str | None) -> None:
    """A kit in use may have more settings than it was made with, but none that contradict the project."""
    path = root / member.kit / CONFIG
    has = settings_of(path)
    for name, value in project_settings(project, member).items():
        if has.get(name) != value:
            raise BadConfiguration(
                f"{path}: {name} is {has.get(name)!r}, the project says {value!r}: "
                f"change one of them, or move {root / member.kit} away to have it made anew"
            )
    if fingerprint is not None and has.get(FINGERPRINT, fingerprint) != fingerprint:
        raise BadConfiguration(f"{path}: another fingerprint is there: if S2 has a new key, remove it first")


def project_settings(project: Project, member: Member) -> dict[str, object]:
    """The settings of one kit, without the fingerprint."""
    others: dict[str, object] = {
        other.role: other.address for other in project.members.values() if other.role in PEERS[member.role]
    }
    made: dict[str, object] = {"name": member.name, "listen": member.listen, **others}
    if member.role == "cloud_s2" and project.key_bits is not None:
        made["key_bits"] = project.key_bits
    if project.insecure_small_key:
        made["insecure_small_key"] = True
    return made | {"tls": TLS, "state": "state"}


def _keep(member: Member, root: Path, fingerprint: str | None) -> Made:
    path = root / member.kit / CONFIG
    if fingerprint is None or member.role == "cloud_s2" or FINGERPRINT in settings_of(path):
        return Made(member.kit, root / member.kit, "kept as it is")
    replace(path, pinned(path.read_text(encoding="utf-8-sig"), fingerprint).encode(), PUBLIC)
    return Made(member.kit, root / member.kit, "fingerprint added")


def _make(
    project: Project, member: Member, authority: Authority, root: Path, fingerprint: str | None
) -> Made:
    own = None if member.role == "cloud_s2" else fingerprint
    text = configuration(project, member, project_settings(project, member), own)
    with creating_folder(root / member.kit) as part:
        end = _issue(project, member, authority, part)
        replace(part / CONFIG, text.encode(), PUBLIC)
        replace(part / README, instructions(project, member, end).encode(), PUBLIC)
    return Made(member.kit, root / member.kit, "made")


def _issue(project: Project, member: Member, authority: Authority, folder: Path) -> date:
    """The day on which the new certificate ends."""
    hosts = (member.host, *member.names)
    files = issue(authority, member.role, member.name, folder / TLS, project.role_days, hosts)
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc.date()
