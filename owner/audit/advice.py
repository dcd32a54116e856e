"""What the figures mean for each way in which a model can be released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from owner.audit.features import LABEL, PICTURE, SCORES
from owner.audit.findings import AttackedFeatures, Inverted
from owner.audit.risk import Level, Risk

_ORDER: tuple[Level, ...] = ("low", "not measured", "not settled", "attacker too weak", "medium", "high")


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to release: the level, the risk behind it (None: not measured), and a recommendation."""

    name: str
    level: Level
    risk: Risk | None
    advice: str


def choices(audit: Inverted) -> tuple[Choice, ...]:
    """From the most to the least that is given out."""
    inner = [each for each in audit.layers if each.name not in (PICTURE, SCORES, LABEL)]
    return (
        _weights(inner),
        _features(inner),
        _single("scores returned", audit.layer(SCORES), "whoever gets the class vector of a picture"),
        _single("label only", audit.layer(LABEL), "whoever gets the class of a picture"),
        _protocol(audit),
    )


def _weights(inner: Sequence[AttackedFeatures]) -> Choice:
    worst = _worst(inner)
    if worst is None:
        return _not_measured("weights public")
    measured = (
        f"so count with the worst one measured ({worst.name})"
        if len(inner) > 1
        else f"but only {worst.name} was measured, and others may tell more"
    )
    return Choice(
        "weights public",
        worst.level,
        worst.risk,
        f"Anyone can train this attack for every layer, {measured}: publish "
        f"the weights only if no activation of anybody's picture ever leaves its owner. "
        f"{_words(worst.level)}",
    )


def _features(inner: Sequence[AttackedFeatures]) -> Choice:
    worst = _worst(inner)
    if worst is None:
        return _not_measured("features shared")
    safe = [each.name for each in inner if each.level == "low"]
    where = f"Share features of {', '.join(safe)} only" if safe else "No layer measured is safe to share"
    best = min(inner, key=_upper)
    text = f"{where}. The worst layer is {worst.name}, the least telling one {best.name}, risk {best.risk}."
    return Choice("features shared", worst.level, worst.risk, text)


def _single(name: str, attacked: AttackedFeatures | None, who: str) -> Choice:
    if attacked is None:
        return _not_measured(name)
    found = attacked.comparison
    known = max(found.mean_picture.neighbour.mean(), found.shuffled.neighbour.mean())
    text = (
        f"{_words(attacked.level)} For {who}: the reconstruction leads back to the right class among the "
        f"others' pictures in {found.attack.neighbour.mean():.0%} of cases (baselines: {known:.0%})."
    )
    return Choice(name, attacked.level, attacked.risk, text)


def _protocol(audit: Inverted) -> Choice:
    name = "encrypted protocol"
    if not audit.views:
        return _not_measured(name)
    risk = max((view.attack for view in audit.views), key=_upper).risk
    leaking = [f"{view.cloud}: {view.attack.name}" for view in audit.views if view.leaks]
    if leaking:
        text = f"A view gives something away ({', '.join(leaking)}): do not use it before it is explained."
        return Choice(name, "high", risk, text)
    unproven = [f"{view.cloud}: {view.attack.name}" for view in audit.views if not view.control_succeeds]
    if unproven:
        what = ", ".join(unproven)
        text = f"Not shown to be safe ({what}): the attack fails on its control, too. Record more queries."
        return Choice(name, "attacker too weak", risk, text)
    unsettled = [f"{view.cloud}: {view.attack.name}" for view in audit.views if not view.settled]
    if unsettled:
        text = f"Chance may have had a hand in it, or not ({', '.join(unsettled)}): record again."
        return Choice(name, "not settled", risk, text)
    return Choice(
        name,
        "low",
        risk,
        "What either cloud sees of a query tells its picture no better than another query's view does, while "
        "the same attack finds the picture once it is there in clear. What the user is told (scores "
        "or label) comes on top; both clouds together would see everything.",
    )


def _worst(layers: Sequence[AttackedFeatures]) -> AttackedFeatures | None:
    return max(layers, key=lambda each: (_ORDER.index(each.level), _upper(each)), default=None)


def _upper(attacked: AttackedFeatures) -> float:
    return attacked.risk.upper


def _words(level: Level) -> str:
    return {
        "low": "Hardly more than the baselines know.",
        "medium": "Pose, light or type come back: give it to people you trust with that.",
        "high": "People's pictures come back: treat it like the pictures themselves.",
        "attacker too weak": "This attacker proves nothing: try --attacker strong, or more epochs.",
        "not measured": "",
        "not settled": "",
    }[level]


def _not_measured(name: str) -> Choice:
    return Choice(name, "not measured", None, "Not part of this audit.")
