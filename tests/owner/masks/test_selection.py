"""Selection on made-up hits: the publication's own tables, ties, empty results, weak attackers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from owner.masks.measure import Attack, MaskFacts, RecognisedCounts
from owner.masks.selection import select
from owner.masks.tables import Effect, Rules, Selection
from twinveil.errors import BadInput
from twinveil.pictures.masks import GROUP_NAMES

PICTURES = 10_000

PUBLISHED = {
    ("0.4-0.5", "1175"): (90.23, 87.53),
    ("0.4-0.5", "1403"): (88.9, 84.42),
    ("0.4-0.5", "0565"): (88.13, 85.63),
    ("0.5-0.6", "1584"): (85.3, 81.67),
    ("0.5-0.6", "0007"): (85.82, 80.32),
    ("0.5-0.6", "1478"): (85.57, 78.55),
}


def hits(percent: Sequence[float]) -> list[int]:
    return [round(each * PICTURES / 100) for each in percent]


def measured(masks: Sequence[tuple[str, str, float, float]], runs: int = 1) -> RecognisedCounts:
    """masks: (group, name, masked-image recogniser, original recogniser), in per cent, equal in all runs."""
    return RecognisedCounts(
        tuple(
            MaskFacts(name, group, 0.45, f"{place:064x}") for place, (group, name, _, _) in enumerate(masks)
        ),
        PICTURES,
        np.array(hits([98.0]) * runs),
        np.array(hits([97.0]) * runs),
        np.array([hits([each[3] for each in masks])] * runs),
        np.array([hits([each[2] for each in masks])] * runs),
    )


def attack(
    after: dict[str, float], gain: float = 6.0, runs: int = 1, asked: list[str] | None = None
) -> Callable[[str], Attack]:
    def under(name: str) -> Attack:
        if asked is not None:
            asked.append(name)
        return Attack(
            np.array(hits([after.get(name, 80.0)]) * runs),
            np.array(hits([40.0]) * runs),
            (15.0 + gain,) * runs,
            15.0,
        )

    return under


def published(rules: Rules | None = None, gain: float = 6.0) -> Selection:
    small = [("0.1-0.2", "0100", 96.0, 90.0), ("0.1-0.2", "0101", 95.0, 92.0)]
    worse = [("0.4-0.5", "1999", 70.0, 40.0), ("0.5-0.6", "1998", 60.0, 20.0)]
    large = [(group, name, before, 40.0) for (group, name), (before, _) in PUBLISHED.items()]
    after = {name: found for (_, name), (_, found) in PUBLISHED.items()}
    return select(measured([*small, *worse, *large]), attack(after, gain), rules or Rules())


def test_the_published_tables_give_the_published_choice() -> None:
    selection = published()
    assert [group.name for group in selection.groups if group.kept] == ["0.4-0.5", "0.5-0.6"]
    rows = {each.name: each for each in selection.candidates}
    assert set(rows) == {name for _, name in PUBLISHED}
    for (_, name), (before, after) in PUBLISHED.items():
        assert rows[name].fourth.mean == pytest.approx(before)
        assert rows[name].fifth.mean == pytest.approx(after)
        assert rows[name].difference.mean == pytest.approx(before - after)
    assert selection.targets == selection.nearest == ("1478",)
    assert rows["1478"].why == "7.02 points, 0.02 above 7"
    assert rows["0007"].why == "5.50 points, 1.50 short of 7"
    assert selection.notes == ()


def test_every_number_is_json() -> None:
    text = json.dumps(asdict(published()), allow_nan=False)
    assert "1175" in text
    assert json.loads(text)["rules"]["threshold1"] == 30.0


def test_only_candidates_and_masks_of_the_simpler_rule_are_attacked() -> None:
    asked: list[str] = []
    masks = [("0.4-0.5", f"m{n}", 70.0 - n, 10.0) for n in range(6)]
    selection = select(measured(masks), attack({}, asked=asked), Rules(candidates=2))
    assert sorted(asked) == ["m0", "m1"]
    assert [row.name for row in selection.masks if row.candidate] == ["m0", "m1"]


def test_thresholds_are_to_be_exceeded_not_met() -> None:
    """Exactly 30 and exactly 7 points, in sums that floating point would not hold exactly."""
    masks = [("0.4-0.5", "a", 70.1, 40.1), ("0.4-0.5", "b", 70.1, 40.1)]
    selection = select(measured(masks, runs=3), attack({}, runs=3), Rules())
    assert not any(group.kept for group in selection.groups)
    assert "30.00 points, not above 30" in selection.notes[0]
    masks = [("0.4-0.5", "a", 87.1, 40.1), ("0.4-0.5", "b", 87.11, 40.1)]
    selection = select(measured(masks, runs=3), attack({"a": 80.1, "b": 80.1}, runs=3), Rules())
    assert selection.targets == ("b",)


def test_thresholds_are_the_numbers_that_were_typed() -> None:
    """29.9 points are not above 29.9, though the float of that name is a little smaller."""
    masks = [("0.4-0.5", name, 70.0, 40.1) for name in "ab"]
    [group] = [
        each for each in select(measured(masks), attack({}), Rules(threshold1=29.9)).groups if each.masks
    ]
    assert (group.kept, group.why) == (False, "29.90 points, not above 29.9")
    assert not select(measured(masks), attack({"a": 40.1}), Rules(threshold2=29.9)).targets


def test_a_gap_that_rounds_to_nothing_is_not_called_nothing() -> None:
    made = measured([("0.4-0.5", name, 70.0, 40.0) for name in "ab"], runs=3)
    made.masked[0, 0] += 1
    assert select(made, attack({}, runs=3), Rules()).groups[4].why == "30.00 points, less than 0.01 above 30"


def test_an_empty_first_step_says_by_how_much() -> None:
    masks = [("0.3-0.4", "a", 80.0, 60.0), ("0.3-0.4", "b", 80.0, 58.0)]
    selection = select(measured(masks), attack({}), Rules())
    assert selection.candidates == selection.targets == selection.nearest == ()
    assert selection.empty["published"] == selection.empty["nearest"] == selection.notes[0]
    assert selection.notes[0] == (
        "no group is kept: the largest first minus second accuracy is that of 0.3-0.4, "
        "21.00 points, 9.00 short of 30"
    )


def test_an_empty_last_step_says_by_how_much() -> None:
    masks = [("0.4-0.5", "a", 85.0, 20.0), ("0.4-0.5", "b", 84.0, 20.0)]
    selection = select(measured(masks), attack({"a": 84.0, "b": 79.0}), Rules())
    assert selection.targets == ()
    assert selection.empty == {"published": selection.notes[0]}
    assert "no target mask: of 2 candidates judged, b has the largest" in selection.notes[0]
    assert "5.00 points, 2.00 short of 7" in selection.notes[0]
    assert selection.simple_targets == ("a", "b")
    assert selection.nearest == ("b",)


def test_ties_for_the_last_place_all_stay_and_are_named() -> None:
    masks = [("0.5-0.6", name, percent, 10.0) for name, percent in zip("abcd", (90, 85, 85, 60), strict=True)]
    selection = select(measured(masks), attack({}), Rules(candidates=2))
    assert [each.name for each in selection.candidates] == ["a", "b", "c"]
    assert "group 0.5-0.6: b, c tie at 85.00 % for the last of 2 places; all stay" in selection.notes


def test_ties_between_targets_are_named() -> None:
    masks = [("0.5-0.6", name, 90.0, 10.0) for name in "ab"]
    selection = select(measured(masks), attack({"a": 80.0, "b": 70.0}), Rules())
    assert selection.targets == ("b", "a")
    assert any("target masks: b, a tie at 90.00 %; b leads" in note for note in selection.notes)


def test_why_nothing_was_selected_is_told_before_ties() -> None:
    masks = [("0.5-0.6", name, 90.0, 10.0) for name in "abc"]
    selection = select(measured(masks), attack({"a": 88.0, "b": 85.0, "c": 85.0}), Rules(candidates=2))
    assert selection.notes[0] == selection.empty["published"]
    assert selection.notes[0].startswith("no target mask: of 3 candidates judged, b has")
    assert any("b, c tie at 5.00 points; b leads" in note for note in selection.notes[1:])


def test_equal_counts_tie_however_they_are_spread_over_runs() -> None:
    """452 hits of 5 x 120 both; the mean of the runs' percentages differs in its last bit."""
    one, other = (90, 90, 90, 90, 92), (90, 90, 90, 91, 91)
    means = [math.fsum(100 * hit / 120 for hit in each) / 5 for each in (one, other)]
    assert means[0] != means[1]
    made = measured([("0.5-0.6", name, 0.0, 0.0) for name in "ab"], runs=5)
    rows = select(
        replace(made, pictures=120, masked=np.array([one, other]).T), attack({}, runs=5), Rules()
    ).masks
    assert rows[0].third.mean == rows[1].third.mean


def test_the_nearest_candidate_is_one_that_was_judged() -> None:
    masks = [("0.5-0.6", "a", 90.0, 10.0), ("0.5-0.6", "b", 80.0, 10.0), ("0.5-0.6", "c", 50.0, 10.0)]
    selection = select(measured(masks), attack({"a": 89.0, "b": 75.0, "c": 10.0}), Rules())
    assert selection.candidates[2].verdict == "attacker too weak"
    assert selection.nearest == ("b",)
    assert selection.of("nearest") == ("b",)
    assert selection.of("published") == ()


def test_a_mask_alone_in_its_group_is_no_choice() -> None:
    selection = select(measured([("0.5-0.6", "a", 90.0, 10.0)]), attack({}), Rules())
    assert selection.candidates == ()
    assert "one mask alone is no choice" in selection.groups[5].why


def test_a_weak_repair_judges_nothing() -> None:
    selection = published(gain=2.9)
    assert {each.verdict for each in selection.candidates} == {"attacker too weak"}
    assert selection.candidates[0].why == "repair over mean at 2.90 dB, 0.10 short of 3"
    assert selection.targets == selection.simple_targets == ()
    names = "1175, 1403, 0565, 1584, 0007, 1478"
    lack = f"nearest {names}: repair over mean at 2.90 dB, 0.10 short of 3"
    assert selection.empty == {
        "published": f"no target mask: for all 6 candidates the attacker is too weak to judge them; {lack}",
        "simple": f"simpler rule: all 6 masks that pass it meet an attacker too weak to judge them; {lack}",
        "nearest": selection.empty["published"],
    }
    assert set(selection.empty.values()) <= set(selection.notes)


def test_where_all_are_too_weak_the_nearest_is_named_not_the_first() -> None:
    masks = [("0.5-0.6", "a", 45.0, 10.0), ("0.5-0.6", "b", 49.9, 10.0), ("0.5-0.6", "c", 49.0, 10.0)]
    empty = select(measured(masks), attack({}), Rules(simple_masked=40.0)).empty
    lack = "nearest b: masked-image recogniser at 49.90 %, 0.10 short of 50"
    assert empty["published"].endswith(lack)
    assert empty["simple"].endswith(lack)


def test_per_cent_and_decibels_compare_as_shares_of_their_floors() -> None:
    """a lacks half a point of 50, b 0.3 dB of 3."""
    masks = [("0.5-0.6", "b", 90.0, 10.0), ("0.5-0.6", "a", 49.5, 10.0)]

    def weak_repair(name: str) -> Attack:
        return attack({}, gain=2.7 if name == "b" else 6.0)(name)

    empty = select(measured(masks), weak_repair, Rules(simple_masked=40.0)).empty
    lack = "nearest a: masked-image recogniser at 49.50 %, 0.50 short of 50"
    assert empty["published"].endswith(lack)
    assert empty["simple"].endswith(lack)


def test_a_weak_recogniser_judges_nothing() -> None:
    masks = [("0.5-0.6", "a", 50.0, 10.0), ("0.5-0.6", "b", 50.01, 10.0)]
    selection = select(measured(masks), attack({"a": 10.0, "b": 10.0}), Rules())
    assert [each.verdict for each in selection.candidates] == ["attacker too weak", "target"]
    assert selection.candidates[0].why == "masked-image recogniser at 50.00 %, not above 50"


def test_a_mask_that_is_weak_twice_is_told_both() -> None:
    masks = [("0.5-0.6", name, 45.0, 10.0) for name in "ab"]
    [first, _] = select(measured(masks), attack({}, gain=1.0), Rules()).candidates
    assert first.why == (
        "masked-image recogniser at 45.00 %, 5.00 short of 50; repair over mean at 1.00 dB, 2.00 short of 3"
    )


def test_the_simpler_rule() -> None:
    masks = [
        ("0.2-0.3", "ours too low", 80.0, 10.0),
        ("0.2-0.3", "theirs too high", 95.0, 50.0),
        ("0.2-0.3", "passes", 80.01, 49.99),
    ]
    selection = select(measured(masks), attack({}), Rules(threshold1=100))
    assert selection.simple_targets == ("passes",)
    assert selection.targets == ()
    none = select(measured(masks[:2]), attack({}), Rules(threshold1=100))
    assert none.notes[-1] == none.empty["simple"]
    assert none.empty["simple"] == (
        "simpler rule: no mask passes; 1 of 2 have the masked-image recogniser above 80 % (best 95.00 %), "
        "1 the original one below 50 % (lowest 10.00 %); nearest ours too low: masked-image recogniser "
        "at 80.00 %, not above 80, or theirs too high: original one at 50.00 %, not below 50"
    )


@pytest.mark.parametrize(
    ("others", "lack"),
    [
        ((79.0, 10.0), "nearest other: masked-image recogniser at 79.00 %, 1.00 short of 80"),
        ((79.5, 53.0), "nearest first: masked-image recogniser at 78.00 %, 2.00 short of 80"),
        ((95.0, 50.0), "nearest other: original one at 50.00 %, not below 50"),
        (
            (79.0, 50.5),
            "nearest other: masked-image recogniser at 79.00 %, 1.00 short of 80; "
            "original one at 50.50 %, 0.50 above 50",
        ),
    ],
)
def test_where_no_mask_passes_the_simpler_rule_the_nearest_is_named(
    others: tuple[float, float], lack: str
) -> None:
    masks = [("0.2-0.3", "first", 78.0, 10.0), ("0.2-0.3", "other", *others)]
    found = select(measured(masks), attack({}), Rules(threshold1=100))
    assert found.empty["simple"].endswith(f"; {lack}")


def test_effects_are_read_off_the_intervals() -> None:
    masks = [("0.5-0.6", name, 90.0, 10.0) for name in "ab"]
    made = measured(masks, runs=4)
    claims = select(made, attack({"a": 89.0, "b": 88.0}, runs=4), Rules()).effects
    assert [each.verdict for each in claims] == ["appears", "not tested", "does not appear", "appears"]
    assert claims[2].evidence == "2 of 2 below 7, the largest b: 2.00 [2.00, 2.00]"
    one = select(measured(masks), attack({}), Rules()).effects
    assert one[0].verdict == "not settled"
    weak = select(made, attack({}, gain=0.0, runs=4), Rules()).effects
    assert [each.verdict for each in weak[2:]] == ["not tested", "not tested"]


def test_an_original_recogniser_that_repair_helps_is_told() -> None:
    masks = [("0.5-0.6", name, 90.0, 10.0) for name in "ab"]

    def helped(name: str) -> Attack:
        found = attack({}, runs=4)(name)
        return replace(found, original=np.array(hits([95.0 if name == "b" else 20.0]) * 4))

    found = select(measured(masks, runs=4), helped, Rules()).effects[3]
    assert found.verdict == "does not appear"
    assert found.evidence == (
        "1 of 2 above 50, the largest b (10.00 [10.00, 10.00] before repair): 95.00 [95.00, 95.00]"
    )


SAME, WIDE = (90.0,) * 3, (70.0, 90.0, 80.0)
"""Masked-image recogniser in three runs: an interval of no width, and one from 55 to 105."""


def gaps(*groups: tuple[str, Sequence[float], float]) -> list[Effect]:
    """groups: (name, masked-image recogniser by run, original recogniser); two equal masks each."""
    masks = [(group, f"{group}{name}", 0.0, theirs) for group, _, theirs in groups for name in "ab"]
    ours = np.array([hits(ours) for _, ours, _ in groups for _ in "ab"]).T
    made = replace(measured(masks, runs=3), masked=ours)
    return list(select(made, attack({}, runs=3), Rules()).effects[:2])


@pytest.mark.parametrize(
    ("early", "late", "verdict"),
    [
        ((SAME, 80.0), (SAME, 10.0), "appears"),
        ((SAME, 10.0), (SAME, 10.0), "does not appear"),
        ((SAME, 10.0), None, "does not appear"),
        ((SAME, 80.0), (SAME, 80.0), "does not appear"),
        (None, (SAME, 80.0), "does not appear"),
        ((SAME, 80.0), None, "not tested"),
        (None, (SAME, 10.0), "not tested"),
        ((WIDE, 60.0), (SAME, 10.0), "not settled"),
        ((SAME, 80.0), (WIDE, 60.0), "not settled"),
    ],
)
def test_it_matters_where_the_gap_opens(
    early: tuple[Sequence[float], float] | None, late: tuple[Sequence[float], float] | None, verdict: str
) -> None:
    """Published: above 30 points from 0.4 on, and not before."""
    groups = [(name, *each) for name, each in (("0.2-0.3", early), ("0.5-0.6", late)) if each is not None]
    assert gaps(*groups)[1].verdict == verdict


def test_the_evidence_is_the_figure_that_settles_it_or_does_not() -> None:
    drop, _ = gaps(("0.2-0.3", SAME, 65.0), ("0.3-0.4", WIDE, 60.0), ("0.5-0.6", SAME, 80.0))
    assert drop.verdict == "not settled"
    assert drop.evidence == "1 of 3 may lie on either side of 30, the largest 0.3-0.4: 20.00 [-4.84, 44.84]"
    drop, late = gaps(("0.3-0.4", SAME, 80.0), ("0.4-0.5", WIDE, 40.0), ("0.5-0.6", SAME, 55.0))
    assert (drop.verdict, late.verdict) == ("appears", "appears")
    assert drop.evidence == "1 of 3 above 30, the largest 0.5-0.6: 35.00 [35.00, 35.00]"
    assert late.evidence == (
        "to 0.4: 1 of 1 below 30, the largest 0.3-0.4: 10.00 [10.00, 10.00]; "
        "from 0.4 on: 1 of 2 above 30, the largest 0.5-0.6: 35.00 [35.00, 35.00]"
    )


def test_groups_without_masks_are_shown_as_such() -> None:
    assert {group.why for group in published().groups if group.masks == 0} == {"no masks"}
    assert [group.name for group in published().groups] == list(GROUP_NAMES)


@pytest.mark.parametrize(
    "rules",
    [{"candidates": 1}, {"threshold1": -1.0}, {"threshold2": 101.0}, {"floor": 200.0}, {"gain": -0.1}],
)
def test_rules_that_cannot_be(rules: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Rules(**rules)  # type: ignore[arg-type]
