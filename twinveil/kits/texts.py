"""What a kit's files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from twinveil.kits.project import Member, Project
from twinveil.start.config import read_toml
from twinveil.wording import typed

FINGERPRINT = "fingerprint"
_NOT_PINNED = "# fingerprint: of S2's key. Without it the key of the first contact is pinned in state/."

_SECOND_COMMAND = {
    "owner": "twinveil serve owner --config config.toml",
    "cloud_s1": "twinveil serve cloud_s1 --config config.toml",
    "cloud_s2": "twinveil serve cloud_s2 --config config.toml",
    "user": "twinveil classify PICTURE --model NAME --config config.toml",
}
_NEXT = {
    "owner": "Models are made with `twinveil train DATA --config config.toml` and go to the clouds with "
    "`twinveil outsource MODEL --config config.toml`.",
    "cloud_s1": "Start it after cloud_s2.",
    "cloud_s2": "It makes its key at the first start, in `state/`, and logs the key's fingerprint: tell the "
    "others, for `twinveil kits --fingerprint`. Start it first.",
    "user": "For programs in other languages: `twinveil serve user --config config.toml`.",
}


def configuration(
    project: Project, member: Member, settings: Mapping[str, object], fingerprint: str | None
) -> str:
    """A TOML file for `--config`."""
    lines = [
        f"# {member.kit} of {project.name}. Paths are relative to this file.",
        f"# More settings: twinveil serve {member.role} --help",
        *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
    ]
    if member.role != "cloud_s2":
        lines.append(_NOT_PINNED if fingerprint is None else _fingerprint(fingerprint))
    return "\n".join([*lines, "", f"[{member.role}]", ""])


def pinned(text: str, fingerprint: str) -> str:
    """The same configuration with S2's fingerprint, which belongs above the first table."""
    if _NOT_PINNED in text:
        return text.replace(_NOT_PINNED, _fingerprint(fingerprint))
    return f"{_fingerprint(fingerprint)}\n{text}"


def settings_of(path: Path) -> dict[str, Any]:
    """A kit's settings, its role's own over the common ones."""
    content = read_toml(path)
    top = {name: value for name, value in content.items() if not isinstance(value, dict)}
    for table in content.values():
        if isinstance(table, dict):
            top |= table
    return top


def instructions(project: Project, member: Member, end: date) -> str:
    """README.md: where the folder goes, and the two commands to type there. end: of the certificate."""
    where = "the user's machine" if member.role == "user" else f"`{member.host}`"
    return f"""# {member.kit} of {project.name}

Carry this folder to {where} by a way that nobody else can read: whoever holds `tls/key.pem` is {member.kit}.
Install Twinveil there, then in this folder:

    twinveil preflight .
    {_SECOND_COMMAND[member.role]}

The first says what is not right yet and what to do about it. {_NEXT[member.role]}

The certificate ends on {end}. Before that, where the kits were made:

    {typed("twinveil", "kits", "project.toml", "-o", "kits", "--renew", member.kit)}

and carry the new `tls/` here, over the old one. Nothing has to be stopped: running queries go on, and new
connections use the new certificate.
"""


def _fingerprint(fingerprint: str) -> str:
    return f'{FINGERPRINT} = "{fingerprint}"'
