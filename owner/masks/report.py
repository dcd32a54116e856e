"""The report: one HTML file with both tables, the chosen mask's pictures, and what follows.

It loads nothing from outside. It shows people's faces if the data set does: passing it on passes them on.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from owner.masks.measure import Attacker
from owner.masks.page import STYLE
from owner.masks.statistics import Figure
from owner.masks.study import Study
from owner.masks.tables import AttackedMask, MaskGroup, Selection
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask

PEOPLE = 6
"""Test pictures that are shown, each of another class."""


def render(study: Study, selection: Selection, attacker: Attacker) -> str:
    parts = [
        _head(study, selection),
        _effects(selection),
        _groups(selection),
        _candidates(selection),
        _simple(selection),
        _pictures(study, selection, attacker),
        _method(study, selection),
    ]
    title = "Recognition masks"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\n"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def _head(study: Study, selection: Selection) -> str:
    data, settings = study.data, study.settings
    chosen, nearest = (", ".join(selection.of(rule)) or "none" for rule in ("published", "nearest"))
    _, height, width = settings.image_shape
    text = (
        f"{escape(data.name)}: {len(data.class_names)} classes, {len(data.train)} training and "
        f"{selection.pictures} test pictures of {height} × {width}; {len(study.masks)} masks; "
        f"{settings.runs} trainings of each model."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in selection.notes)
    return (
        f'<p class="lead">Target mask: <strong>{escape(chosen)}</strong>. By the simpler rule: '
        f"{len(selection.simple_targets)}. Nearest candidate: {escape(nearest)}.</p><p>{text}</p>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _effects(selection: Selection) -> str:
    rows = [
        f'<li><span class="verdict {each.verdict.replace(" ", "-")}">{each.verdict}</span> '
        f"{escape(each.claim)}<br><small>{escape(each.evidence)}</small></li>"
        for each in selection.effects
    ]
    return f'<h2>Do the published effects appear?</h2><ul class="effects">{"".join(rows)}</ul>'


def _groups(selection: Selection) -> str:
    def row(group: MaskGroup) -> str:
        cells = "".join(
            f'<td data-label="{label}">{_figure(found) if found else "–"}</td>'
            for label, found in (
                ("First", group.first),
                ("Second", group.second),
                ("Difference", group.difference),
            )
        )
        state = "kept" if group.kept else escape(group.why)
        return (
            f'<tr class="{"kept" if group.kept else ""}"><th scope="row">{group.name}</th>'
            f'<td data-label="Masks">{group.masks}</td>{cells}<td data-label="">{state}</td></tr>'
        )

    whole = (
        f'<tr><th scope="row">no mask</th><td data-label="Masks"></td>'
        f'<td data-label="First">{_figure(selection.whole_masked)}</td>'
        f'<td data-label="Second">{_figure(selection.whole_original)}</td>'
        '<td data-label="Difference">–</td><td data-label=""></td></tr>'
    )
    head = ("Covered", "Masks", "First", "Second", "First − second", "")
    return (
        "<h2>Table 1: recognition by covered share</h2><p>Per cent of the test pictures. First: masked-image "
        "recogniser; second: original recogniser. Small: 95 % interval over the seeds. A group is kept for a "
        f"difference above {selection.rules.threshold1:g} points.</p>"
        + _table(head, [whole, *(row(group) for group in selection.groups)])
    )


def _candidates(selection: Selection) -> str:
    head = (
        "Mask",
        "Fourth",
        "Fifth",
        "Fourth − fifth",
        "Repair, dB over mean",
        "Original, before → after",
        "Verdict",
    )
    rows = [_attacked(each) for each in selection.candidates]
    text = (
        "<h2>Table 2: candidates under the repair attack</h2><p>Fourth: masked-image recogniser on covered "
        "pictures; fifth: on repaired ones. Original, before → after: the original recogniser on covered and "
        "on repaired pictures, which the published rule does not ask. A target mask loses more than "
        f"{selection.rules.threshold2:g} points; it is judged only where the fourth accuracy is above "
        f"{selection.rules.floor:g} % and the repair beats filling with the mean by "
        f"{selection.rules.gain:g} dB.</p>"
    )
    return text + (_table(head, rows) if rows else "<p>There are no candidates.</p>")


def _attacked(each: AttackedMask) -> str:
    verdict = each.verdict if each.verdict == "target" else f"{each.verdict}: {each.why}"
    return (
        f'<tr class="{"kept" if each.verdict == "target" else ""}">'
        f'<th scope="row">{each.group} <br>{escape(each.name)}</th>'
        f'<td data-label="Fourth">{_figure(each.fourth)}</td>'
        f'<td data-label="Fifth">{_figure(each.fifth)}</td>'
        f'<td data-label="Fourth − fifth">{_figure(each.difference)}</td>'
        f'<td data-label="Repair, dB over mean">{_figure(each.gain)}</td>'
        f'<td data-label="Original, before → after">{each.original_before.mean:.2f} → '
        f'{each.original_after.mean:.2f}</td><td data-label="Verdict">{escape(verdict)}</td></tr>'
    )


def _simple(selection: Selection) -> str:
    rules, best = selection.rules, selection.simple_targets[:8]
    weak = sum(each.verdict != "target" for each in selection.simple)
    by_name = {each.name: each for each in selection.simple}
    rows = [
        f'<tr><th scope="row">{by_name[name].group} <br>{escape(name)}</th>'
        f'<td data-label="Masked-image">{_figure(by_name[name].fourth)}</td>'
        f'<td data-label="Original">{_figure(by_name[name].original_before)}</td>'
        f'<td data-label="Original, repaired">{_figure(by_name[name].original_after)}</td></tr>'
        for name in best
    ]
    text = (
        f"<h2>The simpler rule</h2><p>Masked-image recogniser above {rules.simple_masked:g} %, original "
        f"below {rules.simple_original:g} %: {len(selection.simple)} of {len(selection.masks)} masks"
        + (f", {weak} of them with an attacker too weak to judge" if weak else "")
        + (f". The {len(best)} most accurate:</p>" if best else ".</p>")
    )
    return text + (_table(("Mask", "Masked-image", "Original", "Original, repaired"), rows) if rows else "")


def _pictures(study: Study, selection: Selection, attacker: Attacker) -> str:
    shown = _to_show(selection)
    if not shown:
        return "<h2>Pictures</h2><p>No mask has been attacked, so there is none to show.</p>"
    return "".join(_strips(study, attacker, each, words) for each, words in shown)


def _strips(study: Study, attacker: Attacker, each: AttackedMask, words: str) -> str:
    mask = next(mask for mask in study.masks if mask.name == each.name)
    whole = study.data.held_out[_one_each(study)]
    covered = mask.cover(whole)
    repaired = attacker.repaired(covered, mask)
    rows = []
    for title, pictures in (("original", whole), ("covered", covered), ("repaired", repaired)):
        images = "".join(_image(picture, title) for picture in pictures)
        rows.append(f'<div class="strip"><span>{title}</span><div>{images}</div></div>')
    return (
        f"<h2>Pictures under mask {escape(each.name)}</h2><p>{words} It covers {mask.share:.1%}.</p>"
        f'<div class="strip"><span>mask</span><div>{_mask_image(mask)}</div></div>' + "".join(rows)
    )


def _to_show(selection: Selection) -> list[tuple[AttackedMask, str]]:
    """The chosen mask; without one the candidate that came nearest, and the first of the simpler rule."""
    by_name = {each.name: each for each in (*selection.simple, *selection.candidates)}
    if selection.targets:
        return [(by_name[selection.targets[0]], "The target mask of the published order.")]
    shown = []
    for name in selection.nearest:
        words = f"No target mask was found; this candidate came nearest ({escape(by_name[name].why)})."
        shown.append((by_name[name], words))
    if selection.simple_targets:
        shown.append((by_name[selection.simple_targets[0]], "The most accurate mask of the simpler rule."))
    return shown


def _method(study: Study, selection: Selection) -> str:
    seconds = study.seconds()
    recogniser, repair = study.settings.recogniser, study.settings.repair
    source = study.settings.repair_data or "the training pictures, distorted anew in every epoch"
    step = 100 / selection.pictures
    return (
        "<h2>How it was made</h2><p>"
        f"Recognisers: residual network, {recogniser.width} to {4 * recogniser.width} channels, "
        f"{recogniser.epochs} epochs each, equal but for the masks. Repair: recurrent feature reasoning, "
        f"{repair.width} channels, "
        f"{repair.recurrences} recurrences, {repair.epochs} epochs on {escape(source)}. Training took "
        f"{sum(seconds.values()):.0f} seconds of one core for {len(seconds)} models.</p>"
        "<p>Intervals are Student's t over the seeds of training: they do not speak of other pictures or "
        f"other masks. One test picture is {step:.2f} points in one run. Masks are chosen on the test "
        "pictures that they are then reported on, so the figures of a chosen mask are a little too good.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _figure(found: Figure) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} <small>{found.low:.1f} to {found.high:.1f}</small>"


def _one_each(study: Study) -> list[int]:
    """Test pictures of different classes, spread over them."""
    labels = study.data.held_out_labels
    classes = np.unique(labels)
    chosen = classes[np.linspace(0, len(classes) - 1, min(PEOPLE, len(classes))).astype(int)]
    return [int(np.flatnonzero(labels == label)[0]) for label in chosen]


def _mask_image(mask: Mask) -> str:
    return _image((mask.visible[None] * np.uint8(255)).astype(np.uint8), f"mask {mask.name}")


def _image(picture: Picture, what: str) -> str:
    plain = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(file, "PNG", optimize=True)
    content = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(what, quote=True)}" src="data:image/png;base64,{content}">'
