"""The report over recorded views: structure, statistics, a trained distinguisher, and one verdict.

All tests of a report are corrected together (Holm): honest clouds raise any alarm with probability at most
FALSE_ALARMS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from twinveil.views.chances import FALSE_ALARMS, holm
from twinveil.views.distinguisher import FEWEST, Outcome, distinguish
from twinveil.views.fields import fields
from twinveil.views.statistics import SIGMA, Finding, examine
from twinveil.views.view import View


@dataclass(frozen=True, slots=True)
class Kind:
    """Views that must look alike. differs: what differs in which view, None if nothing does."""

    cloud: str
    what: str
    views: int
    messages: int
    bytes: int
    decryptions: int
    differs: str | None


@dataclass(frozen=True)
class Report:
    """alarms: findings and guesses that honest clouds do not show. unfinished: views of conversations that
    were broken off, which are left out."""

    kinds: Sequence[Kind]
    findings: Sequence[Finding]
    guesses: Sequence[Outcome]
    alarms: Sequence[str]
    unfinished: int

    @property
    def clean(self) -> bool:
        return not self.alarms

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "clean": self.clean,
            "false_alarms": FALSE_ALARMS,
            "correction": "Holm",
            "tests": len(self.findings) + len(self.guesses),
            "alarms": list(self.alarms),
            "unfinished": self.unfinished,
            "structure": [{name: getattr(each, name) for name in Kind.__slots__} for each in self.kinds],
            "distinguisher": [
                {
                    "cloud": each.cloud,
                    "classes": each.classes,
                    "right": each.right,
                    "guesses": each.guesses,
                    "accuracy": each.accuracy,
                    "interval_95": list(each.bounds),
                    "p": each.p,
                }
                for each in self.guesses
            ],
            "statistics": [
                {name: getattr(each, name) for name in Finding.__slots__} for each in self.findings
            ],
        }


def audit(views: Sequence[View], classes: Mapping[int, str] | None = None) -> Report:
    """classes: id() of a view -> the class of its picture, for those whose picture is known."""
    known = classes or {}
    groups: dict[tuple[object, ...], list[View]] = {}
    asked = [view for view in views if view.asked is not None]
    finished = [view for view in asked if view.finished]
    for view in finished:
        groups.setdefault(view.kind(), []).append(view)
    kinds, findings, guesses, alarms = [], [], [], []
    for group in groups.values():
        kinds.append(_kind(group))
        if kinds[-1].differs:
            alarms.append(f"{kinds[-1].cloud}, {kinds[-1].what}: the structure differs: {kinds[-1].differs}")
            continue
        if group[0].subject.sigma < SIGMA:
            alarms.append(f"{group[0].role}: masks have {group[0].subject.sigma} bits of slack, not {SIGMA}")
        findings += [found for field in fields(group) for found in examine(group[0].role, field)]
        guesses += list(_guesses(group, known))
    tests: list[Finding | Outcome] = [*findings, *guesses]
    for each, rejected in zip(tests, holm([each.p for each in tests]), strict=True):
        if rejected:
            alarms.append(_alarm(each))
    return Report(kinds, findings, guesses, alarms, len(asked) - len(finished))


def _kind(group: Sequence[View]) -> Kind:
    first = group[0]
    messages = [event for event in first.events if event.what in ("received", "sent")]
    return Kind(
        first.role,
        first.what,
        len(group),
        len(messages),
        sum(event.size for event in messages),
        sum(len(event.arrays["values"]) for event in first.events if event.what == "decrypted"),
        next((each for view in group[1:] if (each := _difference(first, view))), None),
    )


def _difference(first: View, other: View) -> str | None:
    for at, (a, b) in enumerate(zip(first.structure(), other.structure(), strict=False)):
        if a != b:
            return f"event {at} is {b[:4]}, not {a[:4]}"
    if len(first.events) != len(other.events):
        return f"{len(other.events)} events, not {len(first.events)}"
    return None


def _guesses(group: Sequence[View], known: Mapping[int, str]) -> Iterator[Outcome]:
    """The two classes with the most views; where no two have enough, half of the classes and the others."""
    by_class: dict[str, list[View]] = {}
    for view in group:
        if id(view) in known:
            by_class.setdefault(known[id(view)], []).append(view)
    names = sorted(by_class)
    if sorted(map(len, by_class.values()))[-2:][:1] < [FEWEST] and len(names) > 2:
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        by_class = {", ".join(half): [view for name in half for view in by_class[name]] for half in halves}
    pairs = sorted(combinations(by_class, 2), key=lambda pair: -min(len(by_class[each]) for each in pair))
    for one, other in pairs[:1]:
        outcome = distinguish(group[0].role, f"{one} or {other}", by_class[one], by_class[other])
        if outcome is not None:
            yield outcome


def _alarm(each: Finding | Outcome) -> str:
    if isinstance(each, Outcome):
        return f"{each.cloud}: {each.classes} told apart in {each.right} of {each.guesses} views"
    return f"{each.cloud}, {each.field}: {each.test}, p = {each.p:.1e}"
