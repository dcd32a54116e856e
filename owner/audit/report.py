"""The report: one HTML file that needs no other, for a desk and for a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from torch import Tensor

from owner.audit.advice import Choice, choices
from owner.audit.charts import Line, line_chart, strip
from owner.audit.findings import AttackedFeatures, Inverted, ViewAttacked
from owner.audit.material import scaled
from owner.audit.permutation import VERDICT
from owner.audit.results import Subject, settings
from owner.audit.risk import FORMULA, STRONG_ENOUGH
from owner.audit.style import STYLE
from owner.audit.subjects import SubjectGroup
from twinveil.version import VERSION

_CAUTION = (
    "This file shows pictures of the data set, and rebuilt ones: keep it as confidential as the pictures."
)
_LIMITS = (
    "An audit shows what this attacker can do. A stronger one, more sample pictures or knowledge of the "
    "targets can do more; no figure here is a proof of privacy. Membership inference and model "
    "extraction are other questions."
)

SHOWN = 8
"""Pictures in a row."""


def to_html(audit: Inverted, subject: Subject) -> str:
    parts = [
        f"<h1>What could be rebuilt of people’s pictures?</h1>"
        f"<p>Inversion audit of <strong>{escape(subject.model)}</strong> on {escape(audit.split.name)}; "
        f"{escape(audit.split.describe())}.</p><p class='soft'>{_CAUTION}</p>",
        "<h2>For each way to release the model</h2>",
        f"<div class='cards'>{''.join(_card(each) for each in choices(audit))}</div>",
        _strength(audit),
        _pictures(audit),
        _charts(audit.layers),
        _table("In numbers", audit.layers),
        _views(audit),
        _settings(audit, subject),
        f"<h2>What this does not show</h2><p>{_LIMITS}</p>",
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Inversion audit: {escape(subject.model)}</title><style>{STYLE}</style></head>\n"
        f"<body>{chr(10).join(parts)}<p class='soft'>Twinveil {escape(VERSION)}</p></body></html>\n"
    )


def _level(level: str) -> str:
    tone = level if level in ("low", "medium", "high") else "none"
    return f"<span class='level {tone}'>{escape(level)}</span>"


def _card(choice: Choice) -> str:
    risk = f"<p class='soft'>risk {choice.risk}</p>" if choice.risk else ""
    return (
        f"<div class='card'><h3>{escape(choice.name)}{_level(choice.level)}</h3>{risk}"
        f"<p>{escape(choice.advice)}</p></div>"
    )


def _strength(audit: Inverted) -> str:
    found = ", ".join(f"{each.ssim:.2f} ({each.kind})" for each in audit.strengths)
    passed = all(each.passed for each in audit.strengths)
    verdict = "strong enough" if passed else "<strong>attacker too weak: no low risk is claimed</strong>"
    return (
        "<h2>Is the attacker strong enough?</h2>"
        f"<p>Given the pictures themselves as features, it gives others’ held-out pictures back with SSIM "
        f"{found}; {STRONG_ENOUGH} is wanted: {verdict}. The recogniser names "
        f"{audit.accuracy:.0%} of the attacked originals rightly.</p>"
    )


def _row(name: str, note: str, pictures: Tensor) -> str:
    label = f"<div>{escape(name)} <small>{escape(note)}</small></div>"
    return f"<div class='row'>{label}{strip(pictures, name)}</div>"


def _pictures(audit: Inverted) -> str:
    targets = audit.split.target
    places = shown(targets)
    rows = [_row("original", "", scaled(targets.pictures[places]))]
    rows += [_row(each.name, _note(each), each.made[places]) for each in audit.layers]
    rows += _baselines(audit, audit.layers[0], places)
    whose = "of somebody" if audit.split.by == "person" else "that"
    return (
        "<h2>Original and rebuilt, layer by layer</h2>"
        f"<p class='soft'>Each column is one picture {whose} the attacker never learned from "
        f"({len(places)} of {len(targets)}).{_covered(audit)}</p>{''.join(rows)}"
    )


def _covered(audit: Inverted) -> str:
    if audit.mask is None:
        return ""
    return (
        f" The model’s mask covered {audit.mask.share:.0%} of every picture before the model got it; what is "
        "rebuilt is compared with the whole picture."
    )


def _charts(layers: Sequence[AttackedFeatures]) -> str:
    names = [each.name for each in layers]
    risk = Line(
        "risk, with its confidence interval",
        "#b3261e",
        [each.risk.score for each in layers],
        [(each.risk.lower, each.risk.upper) for each in layers],
    )
    attack, mean, shuffled = (
        [float(getattr(each.comparison, which).ssim.mean()) for each in layers]
        for which in ("attack", "mean_picture", "shuffled")
    )
    hits = [float(each.comparison.attack.recognised.mean()) for each in layers]
    neighbour = [float(each.comparison.attack.neighbour.mean()) for each in layers]
    chance = [float(each.comparison.shuffled.neighbour.mean()) for each in layers]
    charts = [
        line_chart("Risk by layer", names, [risk]),
        line_chart(
            "Likeness (SSIM) by layer",
            names,
            [
                Line("rebuilt", "#1f6feb", attack),
                Line("shuffled features", "#8b5cf6", shuffled, dashed=True),
                Line("mean picture", "#7a828b", mean, dashed=True),
            ],
        ),
        line_chart(
            "Found again by layer",
            names,
            [
                Line("by the recogniser", "#0f8a6d", hits),
                Line("by the nearest neighbour", "#c2571a", neighbour),
                Line("nearest neighbour, shuffled", "#7a828b", chance, dashed=True),
            ],
        ),
    ]
    return f"<h2>Over the layers</h2><div class='charts'>{''.join(charts)}</div>"


def _table(title: str, layers: Sequence[AttackedFeatures]) -> str:
    head = "layer,features,risk,95 % interval,level,SSIM,PSNR (dB),cosine,recogniser,neighbour"
    rows = []
    for each in layers:
        cells = [
            escape(each.name),
            _shape(each.shape),
            f"{each.risk.score:.3f}",
            f"{each.risk.lower:.3f}–{each.risk.upper:.3f}",
            _level(each.level),
            _three(each, "ssim", ".3f"),
            _three(each, "psnr", ".1f"),
            _three(each, "cosine", ".3f"),
            _three(each, "recognised", ".0%"),
            _three(each, "neighbour", ".0%"),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{name}</th>" for name in head.split(","))
    return (
        f"<h2>{escape(title)}</h2><div class='scroll'><table><thead><tr>{header}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div><p class='soft'>{escape(FORMULA)}. SSIM and what "
        "follows: the attack / mean picture / shuffled features. Recogniser, neighbour: share found again by "
        "the recogniser, by the nearest neighbour.</p>"
    )


def _three(attacked: AttackedFeatures, measure: str, form: str) -> str:
    """A mean measure of the attack and of both baselines."""
    means = attacked.comparison.means()
    return " / ".join(format(means[which][measure], form) for which in ("attack", "mean_picture", "shuffled"))


def _views(audit: Inverted) -> str:
    title = "<h2>What the clouds see of a query</h2>"
    if audit.recorded is None:
        return f"{title}<p>Not part of this audit (--queries 0).</p>"
    targets = audit.recorded.target
    places = shown(targets)
    rows = [_row("original", "", scaled(targets.pictures[places]))]
    for view in audit.views:
        rows.append(_row(f"{view.cloud}: {view.attack.name}", _note(view.attack), view.attack.made[places]))
        control = view.control
        rows.append(_row(f"the same {view.in_clear}", f"control · {_note(control)}", control.made[places]))
    rows += _baselines(audit, audit.views[0].attack, places)
    verdicts = "".join(f"<li>{_verdict(view)}</li>" for view in audit.views)
    return (
        f"{title}<p>{audit.queries} pictures went through the real protocol, one query each, both clouds "
        "recorded. The attacker knows the pictures of the sample subjects and gets each cloud’s view; as a "
        "control, the same view with the masks taken off, or with the picture once in clear in its largest "
        "message.</p>"
        f"<ul>{verdicts}</ul><p class='soft'>{escape(VERDICT)}</p>{''.join(rows)}"
    )


def _verdict(view: ViewAttacked) -> str:
    tone = "high" if view.leaks else "low" if view.hidden else "none"
    return (
        f"{view.cloud}, {escape(view.attack.name)}: <span class='level {tone}'>{escape(view.verdict)}</span>"
        f" (p = {view.p:.5f}); risk {view.attack.risk}, {view.in_clear} {view.control.risk} "
        f"(p = {view.control_p:.5f})"
    )


def _baselines(audit: Inverted, attacked: AttackedFeatures, places: Sequence[int]) -> list[str]:
    mean, shuffled = attacked.comparison.mean_picture, attacked.comparison.shuffled
    return [
        _row(
            "baseline",
            f"mean picture · SSIM {mean.ssim.mean():.2f}",
            audit.mean_picture.expand(len(places), -1, -1, -1),
        ),
        _row(
            "baseline",
            f"{attacked.name}, shuffled · SSIM {shuffled.ssim.mean():.2f}",
            attacked.made_shuffled[list(places)],
        ),
    ]


def _note(attacked: AttackedFeatures) -> str:
    return f"{_shape(attacked.shape)} · SSIM {attacked.comparison.attack.ssim.mean():.2f}"


def shown(group: SubjectGroup) -> list[int]:
    """Places of up to SHOWN pictures, of as many classes as can be."""
    rank: dict[int, int] = {}
    order = []
    for place, label in enumerate(group.labels.tolist()):
        rank[label] = rank.get(label, -1) + 1
        order.append((rank[label], place))
    return [place for _, place in sorted(order)[:SHOWN]]


def _settings(audit: Inverted, subject: Subject) -> str:
    pairs = {"command": subject.command} | settings(audit)
    rows = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_text(value))}</dd>"
        for name, value in pairs.items()
    )
    return f"<h2>Settings and seeds</h2><dl>{rows}</dl>"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
