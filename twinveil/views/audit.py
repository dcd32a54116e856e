"""The report over recorded views: structure, statistics, a trained distinguisher, and one verdict.

All tests of a report are corrected together (Holm): honest clouds raise any alarm with probability at most
FALSE_ALARMS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from twinveil.views.chances import FALSE_ALARMS, fisher, holm
from twinveil.views.distinguisher import FEWEST, Outcome, distinguish
from twinveil.views.fields import fields
from twinveil.views.statistics import SIGMA, Finding, examine, lone
from twinveil.views.view import BROKEN_OFF, View

ENDINGS = "end of a query"
"""Not a masked field, but tested like one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Views that must look alike. differs: what differs in which view, None if nothing does. Those broken
    off must look like the beginning of the others."""

    cloud: str
    what: str
    views: int
    messages: int
    bytes: int
    decryptions: int
    differs: str | None


@dataclass(frozen=True)
class ViewsReport:
    """alarms: findings and guesses that honest clouds do not show. unfinished: how many of the views are of
    imports, or of queries that were asked, that were broken off."""

    kinds: Sequence[Kind]
    findings: Sequence[Finding]
    guesses: Sequence[Outcome]
    alarms: Sequence[str]
    unfinished: int

    @property
    def clean(self) -> bool:
        return not self.alarms

    @property
    def tests(self) -> int:
        return len(self.findings) + len(self.guesses)

    @property
    def not_shown(self) -> str:
        """What is open where conversations were broken off."""
        if any(each.field.startswith(ENDINGS) for each in self.findings):
            return "that it depends on something other than the picture's class is not excluded"
        return "what that depends on is not tested: the pictures' classes are not known, or too few"

    @property
    def lone(self) -> int:
        """Views of a kind up to which a single one with a value outside its mask's range is an alarm."""
        return lone(max(1, self.tests))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "clean": self.clean,
            "false_alarms": FALSE_ALARMS,
            "correction": "Holm",
            "tests": self.tests,
            "alarms": list(self.alarms),
            "unfinished": self.unfinished,
            "one_value_out_of_range_shows_up_to_views": self.lone,
            "structure": [{name: getattr(each, name) for name in Kind.__slots__} for each in self.kinds],
            "distinguisher": [
                {
                    "cloud": each.cloud,
                    "conversation": each.what,
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


def audit(views: Sequence[View], classes: Mapping[int, str] | None = None) -> ViewsReport:
    """classes: id() of a view -> the class of its picture, for those whose picture is known."""
    known = classes or {}
    groups: dict[tuple[object, ...], list[View]] = {}
    for view in views:
        groups.setdefault(view.kind(), []).append(view)
    kinds, guesses, alarms = [], [], []
    findings = list(_endings(views, known))
    firsts = [group[0] for group in groups.values()]
    for group in groups.values():
        kinds.append(_kind(group, _whole(group[0], firsts)))
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
    unfinished = sum(each.views for each in kinds if each.what.endswith(BROKEN_OFF))
    return ViewsReport(kinds, findings, guesses, alarms, unfinished)


def _whole(view: View, views: Sequence[View]) -> View:
    """A view that this one must look like: finished if there is one, else the longest; a refusal, which says
    why, itself."""
    if view.withheld:
        return view
    same = [each for each in views if each.conversation() == view.conversation()]
    fitting = [each for each in same if view.label_only in (None, each.label_only)]
    return max(fitting, key=lambda each: (each.finished, len(each.events)))


def _kind(group: Sequence[View], whole: View) -> Kind:
    first = group[0]
    messages = [event for event in first.events if event.what in ("received", "sent")]
    return Kind(
        first.role,
        first.what,
        len(group),
        len(messages),
        sum(event.size for event in messages),
        sum(len(event.arrays["values"]) for event in first.events if event.what == "decrypted"),
        next((each for view in group if (each := _difference(whole, view))), None),
    )


def _difference(first: View, other: View) -> str | None:
    for at, (a, b) in enumerate(zip(first.structure(), other.structure(), strict=False)):
        if a != b:
            return f"event {at} is {b[:4]}, not {a[:4]}"
    if len(other.events) > len(first.events) or (other.finished and len(other.events) < len(first.events)):
        return f"{len(other.events)} events, not {len(first.events)}"
    return None


def _endings(views: Sequence[View], known: Mapping[int, str]) -> Iterator[Finding]:
    """Has where a query ended to do with what its picture shows? Each class is tested with each ending: the
    regular one, and every event at which enough were broken off."""
    queries: dict[tuple[object, ...], list[View]] = {}
    for view in views:
        if id(view) in known and view.subject.kind == "query":
            queries.setdefault(view.conversation(), []).append(view)
    for group in queries.values():
        ended = [0 if view.finished else len(view.events) for view in group]
        shown = [known[id(view)] for view in group]
        both, classes, ends = Counter(zip(shown, ended, strict=True)), Counter(shown), Counter(ended)
        for of_class, ones in sorted(classes.items()):
            for end, others in sorted(ends.items()):
                p = fisher(both[of_class, end], ones, others, len(group))
                if p is not None:
                    where = f"broken off at event {end}" if end else "finished"
                    field = f"{ENDINGS}, {group[0].subject.engine}"
                    test = f"{where} and of class {of_class}, Fisher"
                    yield Finding(group[0].role, field, test, len(group), p)


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
        outcome = distinguish(f"{one} or {other}", by_class[one], by_class[other])
        if outcome is not None:
            yield outcome


def _alarm(each: Finding | Outcome) -> str:
    if isinstance(each, Outcome):
        told = f"{each.classes} told apart in {each.right} of {each.guesses} views"
        return f"{each.cloud}, {each.what}: {told}"
    return f"{each.cloud}, {each.field}: {each.test}, p = {each.p:.1e}"
