"""Whether the published effects appear: 30 points between recognisers, 7 points by repair.

The published rule asks only our own recogniser after repair. Whoever repairs a picture would ask the original
recogniser instead, so that is said too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from owner.masks.statistics import Figure
from owner.masks.tables import AttackedMask, Effect, MaskGroup, Rules

PUBLISHED_GROUPS = ("0.4-0.5", "0.5-0.6")
"""Where the publication found more than 30 points; below 0.4 it found less."""

Named = Sequence[tuple[str, Figure]]
Side = Literal["above", "below", "either", "none"]


def effects(
    groups: Sequence[MaskGroup], attacked: Sequence[AttackedMask], rules: Rules
) -> tuple[Effect, ...]:
    judged = [each for each in attacked if each.verdict != "attacker too weak"]
    gaps = [(each.name, each.difference) for each in groups if each.difference is not None]
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
        _opens_late(
            f"it takes more than 0.4 of the picture to come above {first} points", gaps, rules.threshold1
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
    side, evidence = _side(found, threshold)
    if side == "none":
        return Effect(claim, "not tested", "nothing was left that could be judged")
    if side == "either":
        return Effect(claim, "not settled", evidence)
    return Effect(claim, "appears" if side == claimed else "does not appear", evidence)


def _opens_late(claim: str, gaps: Named, threshold: float) -> Effect:
    """Needs both: groups of the publication above the threshold, and all smaller ones below it."""
    late, of_late = _side([each for each in gaps if each[0] in PUBLISHED_GROUPS], threshold)
    early, of_early = _side([each for each in gaps if each[0] not in PUBLISHED_GROUPS], threshold)
    evidence = f"to 0.4: {of_early}; from 0.4 on: {of_late}"
    if early == "above" or late == "below":
        return Effect(claim, "does not appear", evidence)
    if "none" in (early, late):
        return Effect(claim, "not tested", evidence)
    is_so = (early, late) == ("below", "above")
    return Effect(claim, "appears" if is_so else "not settled", evidence)


def _side(found: Named, threshold: float) -> tuple[Side, str]:
    """Where the intervals lie: some above, all below, or neither is settled; and the figure that says so."""
    above = [each for each in found if each[1].low is not None and each[1].low > threshold]
    below = [each for each in found if each[1].high is not None and each[1].high < threshold]
    if not found:
        return "none", "no masks"
    if above:
        return "above", f"{len(above)} of {len(found)} above {threshold:g}, the largest {_largest(above)}"
    if len(below) == len(found):
        return "below", f"{len(below)} of {len(found)} below {threshold:g}, the largest {_largest(below)}"
    either = [each for each in found if each not in below]
    return "either", (
        f"{len(either)} of {len(found)} may lie on either side of {threshold:g}, the largest "
        f"{_largest(either)}"
    )


def _largest(found: Named) -> str:
    name, largest = max(found, key=lambda each: each[1].mean)
    return f"{name}: {interval(largest)}"
