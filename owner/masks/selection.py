"""Selection in the published order: groups, candidates, repair attack; and the simpler rule beside it.

    groups       accuracy of the masked-image recogniser (first) minus that of the original one (second) above
                 threshold 1, over all masks of a group and all runs
    candidates   in each group that is left, the masks with the highest third accuracy (masked-image
                 recogniser, one mask alone), at least two
    attack       accuracy of the masked-image recogniser before (fourth) and after (fifth) repair; targets are
                 those masks whose fourth minus fifth accuracy is above threshold 2
    simpler      masks under which the masked-image recogniser is above 80 % and the original one below 50 %

A weak attacker judges nothing: the masked-image recogniser has to beat a floor on the test pictures under the
mask, and the repair network has to beat filling with the mean by some dB. Comparisons are exact, on counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from owner.masks.effects import effects
from owner.masks.measure import Attack, Hits, Measured
from owner.masks.statistics import Figure, figure
from owner.masks.tables import Attacked, Group, Row, Rules, Selection, Verdict
from twinveil.masks import GROUP_NAMES


def select(measured: Measured, attack: Callable[[str], Attack], rules: Rules) -> Selection:
    """Groups, candidates and targets. `attack` is asked for candidates and masks of the simpler rule only."""
    notes: list[str] = []
    groups = [_group(index, measured, rules) for index in range(len(GROUP_NAMES))]
    kept = [index for index, group in enumerate(groups) if group.kept]
    if not kept:
        notes.append(_no_group(groups, rules))
    chosen = {place for index in kept for place in _candidates(index, measured, rules, notes)}
    simple = {place for place in range(len(measured.masks)) if _is_simple(place, measured, rules)}
    rows = [
        replace(_row(place, measured), candidate=place in chosen, simple=place in simple)
        for place in range(len(measured.masks))
    ]
    attacked = [_attacked(place, measured, attack(rows[place].name), rules) for place in sorted(chosen)]
    under_simple = [
        _simple_verdict(_attacked(place, measured, attack(rows[place].name), rules))
        for place in sorted(simple)
    ]
    if not simple:
        notes.append(_no_simple(measured, rules))
    elif not any(each.verdict == "target" for each in under_simple):
        notes.append(
            f"simpler rule: all {len(simple)} masks that pass it meet an attacker too weak to judge them"
        )
    if chosen and not any(each.verdict == "target" for each in attacked):
        notes.append(_no_target(attacked, rules))
    return Selection(
        rules,
        measured.pictures,
        _figure(measured.masked_whole, measured.pictures),
        _figure(measured.original_whole, measured.pictures),
        tuple(groups),
        tuple(rows),
        tuple(attacked),
        tuple(under_simple),
        _ranked(attacked, "target masks", notes),
        _ranked(under_simple, "simpler rule", notes),
        effects(groups, attacked, rules),
        tuple(notes),
    )


def _group(index: int, measured: Measured, rules: Rules) -> Group:
    places = _places(index, measured)
    name = GROUP_NAMES[index]
    if len(places) == 0:
        return Group(name, 0, None, None, None, False, "no masks")
    each = measured.pictures * len(places)
    first, second = (hits[:, places].sum(axis=1) for hits in (measured.masked, measured.original))
    gap = _percent(first - second, each)
    is_wide = gap > Fraction(rules.threshold1)
    why = _against(gap, rules.threshold1, "points")
    if is_wide and len(places) < 2:
        is_wide, why = False, f"{why}, but one mask alone is no choice: at least two candidates a group"
    return Group(
        name,
        len(places),
        _figure(first, each),
        _figure(second, each),
        _figure(first - second, each),
        is_wide,
        why,
    )


def _candidates(index: int, measured: Measured, rules: Rules, notes: list[str]) -> list[int]:
    """The masks of a group with the highest third accuracy; who ties with the last of them stays too."""
    hits = measured.masked.sum(axis=0)
    order = sorted(_places(index, measured), key=lambda place: (-hits[place], measured.masks[place].name))
    least = hits[order[min(rules.candidates, len(order)) - 1]]
    kept = [place for place in order if hits[place] >= least]
    if len(kept) > rules.candidates:
        tied = [measured.masks[place].name for place in kept if hits[place] == least]
        share = float(_percent(least, measured.pictures * len(measured.masked)))
        notes.append(
            f"group {GROUP_NAMES[index]}: {', '.join(tied)} tie at {share:.2f} % for the last of "
            f"{rules.candidates} places; all stay"
        )
    return kept


def _attacked(place: int, measured: Measured, attack: Attack, rules: Rules) -> Attacked:
    row, pictures = measured.masks[place], measured.pictures
    fourth, before = measured.masked[:, place], measured.original[:, place]
    drop = _percent(fourth - attack.masked, pictures)
    repaired = float(np.mean(attack.repaired))
    gain = repaired - attack.mean
    accuracy = _percent(fourth, pictures)
    verdict: Verdict
    if accuracy <= Fraction(rules.floor):
        verdict = "attacker too weak"
        why = f"masked-image recogniser at {float(accuracy):.2f} %, not above the floor of {rules.floor:g} %"
    elif gain < rules.gain:
        verdict = "attacker too weak"
        why = f"the repair beats the mean by {gain:.2f} dB, {rules.gain - gain:.2f} short of {rules.gain:g}"
    else:
        verdict = "target" if drop > Fraction(rules.threshold2) else "below the threshold"
        why = _against(drop, rules.threshold2, "points")
    return Attacked(
        row.name,
        row.group,
        _figure(fourth, pictures),
        _figure(attack.masked, pictures),
        _figure(fourth - attack.masked, pictures),
        _figure(before, pictures),
        _figure(attack.original, pictures),
        repaired,
        attack.mean,
        gain,
        verdict,
        why,
    )


def _simple_verdict(attacked: Attacked) -> Attacked:
    """The simpler rule asks for no drop by repair: whoever can be judged at all is a target."""
    if attacked.verdict == "attacker too weak":
        return attacked
    return replace(attacked, verdict="target", why="passes; no drop by repair is asked for")


def _is_simple(place: int, measured: Measured, rules: Rules) -> bool:
    ours = _percent(measured.masked[:, place], measured.pictures)
    theirs = _percent(measured.original[:, place], measured.pictures)
    return ours > Fraction(rules.simple_masked) and theirs < Fraction(rules.simple_original)


def _row(place: int, measured: Measured) -> Row:
    each = measured.masks[place]
    return Row(
        each.name,
        each.group,
        each.share,
        each.digest,
        _figure(measured.masked[:, place], measured.pictures),
        _figure(measured.original[:, place], measured.pictures),
    )


def _ranked(attacked: Sequence[Attacked], title: str, notes: list[str]) -> tuple[str, ...]:
    """Targets by fourth accuracy, then by their difference, then by name."""
    targets = sorted(
        (each for each in attacked if each.verdict == "target"),
        key=lambda each: (-each.fourth.mean, -each.difference.mean, each.name),
    )
    if len(targets) > 1 and targets[0].fourth.mean == targets[1].fourth.mean:
        tied = [each.name for each in targets if each.fourth.mean == targets[0].fourth.mean]
        notes.append(
            f"{title}: {', '.join(tied)} tie at {targets[0].fourth.mean:.2f} %; {targets[0].name} "
            "leads by its larger difference, or by name where that is equal too"
        )
    return tuple(each.name for each in targets)


def _no_group(groups: Sequence[Group], rules: Rules) -> str:
    wide = [each for each in groups if each.difference is not None]
    best = max(wide, key=lambda each: each.difference.mean if each.difference else 0.0)
    return f"no group is kept: the largest first minus second accuracy is that of {best.name}, {best.why}"


def _no_target(attacked: Sequence[Attacked], rules: Rules) -> str:
    judged = [each for each in attacked if each.verdict != "attacker too weak"]
    if not judged:
        return f"no target mask: for all {len(attacked)} candidates the attacker is too weak to judge them"
    best = max(judged, key=lambda each: each.difference.mean)
    return (
        f"no target mask: of {len(judged)} candidates judged, {best.name} has the largest fourth minus fifth "
        f"accuracy, {best.why}"
    )


def _no_simple(measured: Measured, rules: Rules) -> str:
    each = measured.pictures * len(measured.masked)
    ours, theirs = measured.masked.sum(axis=0), measured.original.sum(axis=0)
    above = int(np.count_nonzero(100 * ours > rules.simple_masked * each))
    below = int(np.count_nonzero(100 * theirs < rules.simple_original * each))
    return (
        f"simpler rule: no mask passes; {above} of {len(ours)} have the masked-image recogniser above "
        f"{rules.simple_masked:g} % (best {100 * ours.max() / each:.2f} %), {below} the original one below "
        f"{rules.simple_original:g} % (lowest {100 * theirs.min() / each:.2f} %)"
    )


def _against(found: Fraction, threshold: float, unit: str) -> str:
    """Above or below, and by how much."""
    value, gap = float(found), abs(float(found - Fraction(threshold)))
    if found > Fraction(threshold):
        return f"{value:.2f} {unit}, {gap:.2f} above {threshold:g}"
    return f"{value:.2f} {unit}, " + (
        f"{gap:.2f} short of {threshold:g}" if gap else f"not above {threshold:g}"
    )


def _places(index: int, measured: Measured) -> list[int]:
    return [place for place, mask in enumerate(measured.masks) if mask.group == GROUP_NAMES[index]]


def _percent(hits: Hits | np.int64, each: int) -> Fraction:
    """Mean over runs of hits of `each` pictures, exactly."""
    values = np.atleast_1d(hits)
    return Fraction(100 * int(values.sum()), each * (len(values) if np.ndim(hits) else 1))


def _figure(hits: Hits, each: int) -> Figure:
    return figure([100 * int(value) / each for value in hits])
