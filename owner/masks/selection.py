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
from typing import Literal

import numpy as np

from owner.masks.effects import effects
from owner.masks.measure import Attack, Hits, RecognisedCounts
from owner.masks.statistics import Figure, figure
from owner.masks.tables import AttackedMask, MaskGroup, Row, Rule, Rules, Selection, Verdict, exact
from twinveil.pictures.masks import GROUP_NAMES


def select(measured: RecognisedCounts, attack: Callable[[str], Attack], rules: Rules) -> Selection:
    """Groups, candidates and targets. `attack` is asked for candidates and masks of the simpler rule only."""
    ties: list[str] = []
    groups = [_group(index, measured, rules) for index in range(len(GROUP_NAMES))]
    kept = [index for index, group in enumerate(groups) if group.kept]
    chosen = {place for index in kept for place in _candidates(index, measured, rules, ties)}
    simple = {place for place in range(len(measured.masks)) if _is_simple(place, measured, rules)}
    rows = [
        replace(_row(place, measured), candidate=place in chosen, simple=place in simple)
        for place in range(len(measured.masks))
    ]
    attacked, under_simple = (
        [_attacked(place, measured, attack(rows[place].name), rules) for place in sorted(places)]
        for places in (chosen, simple)
    )
    under_simple = [_simple_verdict(each) for each in under_simple]
    targets = _ranked(attacked, "target masks", ties)
    simple_targets = _ranked(under_simple, "simpler rule", ties)
    nearest = _nearest(attacked, ties)
    empty: dict[Rule, str] = {}
    if not targets:
        empty["published"] = _no_target(attacked, nearest, rules) if chosen else _no_group(groups)
    if not simple_targets:
        empty["simple"] = _no_simple(under_simple, measured, rules)
    if not nearest:
        empty["nearest"] = empty["published"]
    return Selection(
        rules,
        measured.pictures,
        _figure(measured.masked_whole, measured.pictures),
        _figure(measured.original_whole, measured.pictures),
        tuple(groups),
        tuple(rows),
        tuple(attacked),
        tuple(under_simple),
        _names(targets),
        _names(simple_targets),
        _names(nearest[:1]),
        empty,
        effects(groups, attacked, rules),
        (*dict.fromkeys(empty.values()), *ties),
    )


def _group(index: int, measured: RecognisedCounts, rules: Rules) -> MaskGroup:
    places = _places(index, measured)
    name = GROUP_NAMES[index]
    if len(places) == 0:
        return MaskGroup(name, 0, None, None, None, False, "no masks")
    each = measured.pictures * len(places)
    first, second = (hits[:, places].sum(axis=1) for hits in (measured.masked, measured.original))
    gap = _percent(first - second, each)
    is_wide = gap > exact(rules.threshold1)
    why = _against(gap, rules.threshold1, "points")
    if is_wide and len(places) < 2:
        is_wide, why = False, f"{why}, but one mask alone is no choice: at least two candidates a group"
    return MaskGroup(
        name,
        len(places),
        _figure(first, each),
        _figure(second, each),
        _figure(first - second, each),
        is_wide,
        why,
    )


def _candidates(index: int, measured: RecognisedCounts, rules: Rules, ties: list[str]) -> list[int]:
    """The masks of a group with the highest third accuracy; who ties with the last of them stays too."""
    hits = measured.masked.sum(axis=0)
    order = sorted(_places(index, measured), key=lambda place: (-hits[place], measured.masks[place].name))
    least = hits[order[min(rules.candidates, len(order)) - 1]]
    kept = [place for place in order if hits[place] >= least]
    if len(kept) > rules.candidates:
        tied = [measured.masks[place].name for place in kept if hits[place] == least]
        share = float(_percent(least, measured.pictures * len(measured.masked)))
        ties.append(
            f"group {GROUP_NAMES[index]}: {', '.join(tied)} tie at {share:.2f} % for the last of "
            f"{rules.candidates} places; all stay"
        )
    return kept


def _attacked(place: int, measured: RecognisedCounts, attack: Attack, rules: Rules) -> AttackedMask:
    row, pictures = measured.masks[place], measured.pictures
    fourth = measured.masked[:, place]
    gain = figure([each - attack.mean for each in attack.repaired])
    verdict, why = _verdict(
        _percent(fourth, pictures), gain.mean, _percent(fourth - attack.masked, pictures), rules
    )
    return AttackedMask(
        row.name,
        row.group,
        _figure(fourth, pictures),
        _figure(attack.masked, pictures),
        _figure(fourth - attack.masked, pictures),
        _figure(measured.original[:, place], pictures),
        _figure(attack.original, pictures),
        figure(attack.repaired),
        attack.mean,
        gain,
        verdict,
        why,
    )


def _verdict(fourth: Fraction, gain: float, drop: Fraction, rules: Rules) -> tuple[Verdict, str]:
    weak = []
    if fourth <= exact(rules.floor):
        weak.append(f"masked-image recogniser at {_against(fourth, rules.floor, '%')}")
    if gain < rules.gain:
        weak.append(f"repair over mean at {_against(Fraction(gain), rules.gain, 'dB')}")
    if weak:
        return "attacker too weak", "; ".join(weak)
    is_target = drop > exact(rules.threshold2)
    return "target" if is_target else "below the threshold", _against(drop, rules.threshold2, "points")


def _simple_verdict(attacked: AttackedMask) -> AttackedMask:
    """The simpler rule asks for no drop by repair: whoever can be judged at all is a target."""
    if attacked.verdict == "attacker too weak":
        return attacked
    return replace(attacked, verdict="target", why="passes; no drop by repair is asked for")


def _is_simple(place: int, measured: RecognisedCounts, rules: Rules) -> bool:
    ours = _percent(measured.masked[:, place], measured.pictures)
    theirs = _percent(measured.original[:, place], measured.pictures)
    return ours > exact(rules.simple_masked) and theirs < exact(rules.simple_original)


def _row(place: int, measured: RecognisedCounts) -> Row:
    each = measured.masks[place]
    return Row(
        each.name,
        each.group,
        each.share,
        each.digest,
        _figure(measured.masked[:, place], measured.pictures),
        _figure(measured.original[:, place], measured.pictures),
    )


def _ranked(attacked: Sequence[AttackedMask], title: str, ties: list[str]) -> list[AttackedMask]:
    """Targets by fourth accuracy, then by their difference, then by name."""
    targets = sorted(
        (each for each in attacked if each.verdict == "target"),
        key=lambda each: (-each.fourth.mean, -each.difference.mean, each.name),
    )
    tied = [each.name for each in targets if each.fourth.mean == targets[0].fourth.mean]
    if len(tied) > 1:
        ties.append(
            f"{title}: {', '.join(tied)} tie at {targets[0].fourth.mean:.2f} %; {tied[0]} leads by its "
            "larger difference, or by name where that is equal too"
        )
    return targets


def _nearest(attacked: Sequence[AttackedMask], ties: list[str]) -> list[AttackedMask]:
    """Candidates that could be judged, by their difference, then by fourth accuracy, then by name."""
    judged = sorted(
        (each for each in attacked if each.verdict != "attacker too weak"),
        key=lambda each: (-each.difference.mean, -each.fourth.mean, each.name),
    )
    tied = [each.name for each in judged if each.difference.mean == judged[0].difference.mean]
    if len(tied) > 1:
        ties.append(
            f"nearest candidate: {', '.join(tied)} tie at {judged[0].difference.mean:.2f} points; {tied[0]} "
            "leads by its higher fourth accuracy, or by name where that is equal too"
        )
    return judged


def _no_group(groups: Sequence[MaskGroup]) -> str:
    gaps = [(group.difference.mean, group) for group in groups if group.difference is not None]
    _, best = max(gaps, key=lambda each: each[0])
    return f"no group is kept: the largest first minus second accuracy is that of {best.name}, {best.why}"


def _no_target(attacked: Sequence[AttackedMask], judged: Sequence[AttackedMask], rules: Rules) -> str:
    if not judged:
        return (
            f"no target mask: for all {len(attacked)} candidates the attacker is too weak to judge them; "
            f"{_nearest_to_floors(attacked, rules)}"
        )
    return (
        f"no target mask: of {len(judged)} candidates judged, {judged[0].name} has the largest fourth minus "
        f"fifth accuracy, {judged[0].why}"
    )


def _no_simple(weak: Sequence[AttackedMask], measured: RecognisedCounts, rules: Rules) -> str:
    """weak: the masks that pass the rule, none of which could be judged."""
    if weak:
        return (
            f"simpler rule: all {len(weak)} masks that pass it meet an attacker too weak to judge them; "
            f"{_nearest_to_floors(weak, rules)}"
        )
    each = measured.pictures * len(measured.masked)
    ours = [_percent(hits, each) for hits in measured.masked.sum(axis=0)]
    theirs = [_percent(hits, each) for hits in measured.original.sum(axis=0)]
    above, below = exact(rules.simple_masked), exact(rules.simple_original)
    far, missed = [], []
    for our, their, mask in zip(ours, theirs, measured.masks, strict=True):
        why = []
        if our <= above:
            why.append(f"masked-image recogniser at {_against(our, rules.simple_masked, '%')}")
        if their >= below:
            why.append(f"original one at {_against(their, rules.simple_original, '%', 'below')}")
        far.append(max(above - our, Fraction(0)) + max(their - below, Fraction(0)))
        missed.append((mask.name, "; ".join(why)))
    return (
        f"simpler rule: no mask passes; {sum(our > above for our in ours)} of {len(ours)} have the "
        f"masked-image recogniser above {rules.simple_masked:g} % (best {float(max(ours)):.2f} %), "
        f"{sum(their < below for their in theirs)} the original one below {rules.simple_original:g} % "
        f"(lowest {float(min(theirs)):.2f} %); {_named(missed, far)}"
    )


def _nearest_to_floors(weak: Sequence[AttackedMask], rules: Rules) -> str:
    """Per cent and dB compare as shares of what is asked for."""
    far = [
        sum(
            max(wanted - found, 0.0) / max(wanted, 1.0)
            for found, wanted in ((each.fourth.mean, rules.floor), (each.gain.mean, rules.gain))
        )
        for each in weak
    ]
    return _named([(each.name, each.why) for each in weak], far)


def _named(missed: Sequence[tuple[str, str]], far: Sequence[float | Fraction]) -> str:
    """missed: names, and what each lacks; far: how much that is. Who ties is named too."""
    nearest: dict[str, list[str]] = {}
    for (name, why), distance in zip(missed, far, strict=True):
        if distance == min(far):
            nearest.setdefault(why, []).append(name)
    return "nearest " + ", or ".join(f"{', '.join(names)}: {why}" for why, names in nearest.items())


def _against(
    found: Fraction, threshold: float, unit: str, wanted: Literal["above", "below"] = "above"
) -> str:
    """Above or below, and by how much."""
    gap = found - exact(threshold)
    if gap == 0:
        return f"{float(found):.2f} {unit}, not {wanted} {threshold:g}"
    far = f"{abs(float(gap)):.2f}" if abs(gap) >= Fraction(1, 100) else "less than 0.01"
    return f"{float(found):.2f} {unit}, {far} {'above' if gap > 0 else 'short of'} {threshold:g}"


def _places(index: int, measured: RecognisedCounts) -> list[int]:
    return [place for place, mask in enumerate(measured.masks) if mask.group == GROUP_NAMES[index]]


def _percent(hits: Hits | np.int64, each: int) -> Fraction:
    """Mean over runs of hits of `each` pictures, exactly."""
    values = np.atleast_1d(hits)
    return Fraction(100 * int(values.sum()), each * (len(values) if np.ndim(hits) else 1))


def _figure(hits: Hits, each: int) -> Figure:
    """In per cent. Equal sums give equal means, to the last bit: what ties is seen to tie."""
    return figure([100 * int(value) for value in hits]).over(each)


def _names(attacked: Sequence[AttackedMask]) -> tuple[str, ...]:
    return tuple(each.name for each in attacked)
