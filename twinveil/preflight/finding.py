"""What preflight found: one line a check, and what to do where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """check: what was looked at. seen: what was there. remedy: what to do, empty where all is well."""

    check: str
    state: State
    seen: str
    remedy: str = ""


def ok(check: str, seen: str) -> Finding:
    return Finding(check, "ok", seen)


def note(check: str, seen: str, remedy: str) -> Finding:
    """Works, but a person should know."""
    return Finding(check, "note", seen, remedy)


def failure(check: str, seen: str, remedy: str) -> Finding:
    return Finding(check, "failure", seen, remedy)
