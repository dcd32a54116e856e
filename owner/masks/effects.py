"""Whether the published effects appear: 30 points between recognisers, 7 points by repair.

The published rule asks only our own recogniser after repair. Whoever repairs a picture would ask the original
recogniser instead, so that is said too.
"""

from __future__ import annotations

from collections.abc import Sequence

from owner.masks.statistics import Figure
from owner.masks.tables import Attacked, Effect, Group, Rules

PUBLISHED_GROUPS = ("0.4-0.5", "0.5-0.6")
"""Where the publication found more than 30 points; below 0.4 it found less."""


def effects(groups: Sequence[Group], attacked: Sequence[Attacked], rules: Rules) -> tuple[Effect, ...]:
    judged = [each for each in attacked if each.verdict != "attacker too weak"]
    gaps = [(f"group {each.name}", each.difference) for each in groups if each.difference is not None]
    drops = [(f"mask {each.name}", each.difference) for each in judged]
    return (
        _effect(
            f"drop of more than {rules.threshold1:g} points between the recognisers, in some group",
            gaps,
            rules.threshold1,
        ),
        _where(gaps, rules),
        _effect(
            f"drop of more than {rules.threshold2:g} points by repair, under some candidate",
            drops,
            rules.threshold2,
        ),
        _hidden(judged, rules),
    )


def _hidden(judged: Sequence[Attacked], rules: Rules) -> Effect:
    """Whether repair gives the original recogniser back what the masks have taken from it."""
    limit = rules.simple_original
    claim = f"repaired pictures keep the original recogniser below {limit:g} %, under every candidate"
    if not judged:
        return Effect(claim, "not tested", "nothing was left that could be judged")
    best = max(judged, key=lambda each: each.original_after.mean)
    before, after = interval(best.original_before), interval(best.original_after)
    evidence = f"highest of {len(judged)}: mask {best.name}, {after} after repair, {before} before"
    if best.original_after.low is None:
        return Effect(claim, "not settled", evidence)
    if any((each.original_after.low or 0) > limit for each in judged):
        return Effect(claim, "does not appear", evidence)
    if all((each.original_after.high or 100) < limit for each in judged):
        return Effect(claim, "appears", evidence)
    return Effect(claim, "not settled", evidence)


def interval(found: Figure) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f} (one run: no interval)"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _effect(claim: str, found: Sequence[tuple[str, Figure]], threshold: float) -> Effect:
    if not found:
        return Effect(claim, "not tested", "nothing was left that could be judged")
    name, best = max(found, key=lambda each: each[1].mean)
    evidence = f"largest of {len(found)}: {name}, {interval(best)}"
    if any(each.low is None for _, each in found):
        return Effect(claim, "not settled", evidence)
    if any(each.low is not None and each.low > threshold for _, each in found):
        return Effect(claim, "appears", evidence)
    if all(each.high is not None and each.high < threshold for _, each in found):
        return Effect(claim, "does not appear", evidence)
    return Effect(claim, "not settled", evidence)


def _where(gaps: Sequence[tuple[str, Figure]], rules: Rules) -> Effect:
    """The publication kept the two groups above 0.4 and none below."""
    claim = f"it takes more than 0.4 of the picture to come above {rules.threshold1:g} points"
    small = [(name, each) for name, each in gaps if name.removeprefix("group ") not in PUBLISHED_GROUPS]
    if not small or any(each.low is None for _, each in small):
        return Effect(claim, "not tested" if not small else "not settled", "see the first table")
    wide = [f"{name} {interval(each)}" for name, each in small if (each.low or 0) > rules.threshold1]
    if wide:
        return Effect(claim, "does not appear", f"above it already: {', '.join(wide)}")
    if all(each.high is not None and each.high < rules.threshold1 for _, each in small):
        return Effect(claim, "appears", "every smaller group lies below")
    return Effect(claim, "not settled", "some smaller group's interval holds the threshold")
