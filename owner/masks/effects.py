"""Whether the published effects appear: 30 points between recognisers, 7 points by repair.

The published rule asks only our own recogniser after repair. Whoever repairs a picture would ask the original
recogniser instead, so that is said too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from owner.masks.statistics import Figure
from owner.masks.tables import Attacked, Effect, Group, Rules

PUBLISHED_GROUPS = ("0.4-0.5", "0.5-0.6")
"""Where the publication found more than 30 points; below 0.4 it found less."""

Named = Sequence[tuple[str, Figure]]


def effects(groups: Sequence[Group], attacked: Sequence[Attacked], rules: Rules) -> tuple[Effect, ...]:
    judged = [each for each in attacked if each.verdict != "attacker too weak"]
    gaps = [(each.name, each.difference) for each in groups if each.difference is not None]
    small = [(name, gap) for name, gap in gaps if name not in PUBLISHED_GROUPS]
    drops = [(each.name, each.difference) for each in judged]
    after = [
        (f"{each.name} ({interval(each.original_before)} before repair)", each.original_after)
        for each in judged
    ]
    first, second, theirs = (
        f"{each:g}" for each in (rules.threshold1, rules.threshold2, rules.simple_original)
    )
    return (
        _effect(
            f"drop of more than {first} points between the recognisers, in some group",
            gaps,
            rules.threshold1,
            "above",
        ),
        _effect(
            f"it takes more than 0.4 of the picture to come above {first} points",
            small,
            rules.threshold1,
            "below",
        ),
        _effect(
            f"drop of more than {second} points by repair, under some candidate",
            drops,
            rules.threshold2,
            "above",
        ),
        _effect(
            f"repaired pictures keep the original recogniser below {theirs} %, under every candidate",
            after,
            rules.simple_original,
            "below",
        ),
    )


def interval(found: Figure) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f} (one run: no interval)"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _effect(claim: str, found: Named, threshold: float, claimed: Literal["above", "below"]) -> Effect:
    """claimed: some figure is above the threshold, or all are below it."""
    if not found:
        return Effect(claim, "not tested", "nothing was left that could be judged")
    name, largest = max(found, key=lambda each: each[1].mean)
    evidence = f"largest of {len(found)} is {name}: {interval(largest)}"
    if any(each.low is not None and each.low > threshold for _, each in found):
        lies = "above"
    elif all(each.high is not None and each.high < threshold for _, each in found):
        lies = "below"
    else:
        return Effect(claim, "not settled", evidence)
    return Effect(claim, "appears" if lies == claimed else "does not appear", evidence)
