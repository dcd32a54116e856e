"""What the figures mean for each way in which a model can be released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from owner.audit.features import LABEL, PICTURE, SCORES
from owner.audit.inversion import Attacked, Inverted
from owner.audit.risk import Level, Risk

_ORDER: tuple[Level, ...] = ("low", "not measured", "attacker too weak", "medium", "high")


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


def _weights(inner: Sequence[Attacked]) -> Choice:
    worst = _worst(inner)
    if worst is None:
        return _not_measured("weights public")
    return Choice(
        "weights public",
        worst.level,
        worst.risk,
        f"Anyone can train this attack for every layer, so count with the worst one ({worst.name}): "
        f"publish the weights only if no activation of anybody's picture ever leaves its owner. "
        f"{_words(worst.level)}",
    )


def _features(inner: Sequence[Attacked]) -> Choice:
    worst = _worst(inner)
    if worst is None:
        return _not_measured("features shared")
    safe = [each.name for each in inner if each.level == "low"]
    where = f"Share features of {', '.join(safe)} only" if safe else "No layer measured is safe to share"
    return Choice(
        "features shared",
        worst.level,
        worst.risk,
        f"{where}. The worst layer is {worst.name}, the least telling one {min(inner, key=_upper).name} "
        f"({min(inner, key=_upper).risk}).",
    )


def _single(name: str, attacked: Attacked | None, who: str) -> Choice:
    if attacked is None:
        return _not_measured(name)
    found = attacked.comparison.attack.neighbour.mean()
    known = max(
        attacked.comparison.mean_picture.neighbour.mean(), attacked.comparison.shuffled.neighbour.mean()
    )
    text = f"{_words(attacked.level)} For {who}: the reconstruction leads back to the right class among the "
    text += f"others' pictures in {found:.0%} of cases (baselines: {known:.0%})."
    return Choice(name, attacked.level, attacked.risk, text)


def _protocol(audit: Inverted) -> Choice:
    name = "encrypted protocol"
    if not audit.views:
        return _not_measured(name)
    worst = max(audit.views, key=lambda view: _upper(view.attack))
    failed = [view for view in audit.views if not view.hidden]
    if not failed:
        return Choice(
            name,
            "low",
            worst.attack.risk,
            "Nothing that either cloud sees gives more than the baselines do, while the same attack succeeds "
            "once the masks are off. What the user is told (scores or label) comes on top; both clouds "
            "together would see everything.",
        )
    weak = all(not view.control_succeeds for view in failed)
    what = ", ".join(f"{view.cloud}: {view.attack.name}" for view in failed)
    text = (
        f"Not shown to be safe ({what}): the attack fails on the unmasked control, too. Record more queries."
    )
    if weak:
        return Choice(name, "attacker too weak", worst.attack.risk, text)
    return Choice(
        name,
        "high",
        worst.attack.risk,
        f"A view gives something away ({what}): do not use it before it is explained.",
    )


def _worst(layers: Sequence[Attacked]) -> Attacked | None:
    return max(layers, key=lambda each: (_ORDER.index(each.level), _upper(each)), default=None)


def _upper(attacked: Attacked) -> float:
    return attacked.risk.upper


def _words(level: Level) -> str:
    return {
        "low": "Hardly more than the baselines know.",
        "medium": "Pose, light or type come back: give it to people you trust with that.",
        "high": "People's pictures come back: treat it like the pictures themselves.",
        "attacker too weak": "This attacker proves nothing: try --attacker strong, or more epochs.",
        "not measured": "",
    }[level]


def _not_measured(name: str) -> Choice:
    return Choice(name, "not measured", None, "Not part of this audit.")
