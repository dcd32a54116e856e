"""What a selection says in the terminal: both tables, what follows, and what can be done next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from owner.masks.effects import interval
from owner.masks.results import NAME, PLACES
from owner.masks.study import Study
from owner.masks.tables import Rule, Selection
from twinveil.cli.terminal import Terminal
from twinveil.wording import typed

_TITLES: dict[Rule, str] = {
    "published": "target masks",
    "simple": "masks by the simpler rule",
    "nearest": "nearest candidates",
}


def show(terminal: Terminal, study: Study, selection: Selection, report: Path) -> None:
    terminal.show(_groups(selection))
    terminal.show(_candidates(selection))
    for line in _lines(study, selection, report):
        terminal.say(line)


def _groups(selection: Selection) -> Table:
    table = Table(
        "covered", "masks", "first", "second", "difference [95 %]", "", title="Groups", title_justify="left"
    )
    for group in selection.groups:
        figures = ("", "", "")
        if group.first and group.second and group.difference:
            figures = (f"{group.first.mean:.2f}", f"{group.second.mean:.2f}", interval(group.difference))
        table.add_row(group.name, str(group.masks), *figures, "kept" if group.kept else group.why)
    return table


def _candidates(selection: Selection) -> Table:
    table = Table(
        "mask", "fourth", "fifth", "difference [95 %]", "verdict", title="Candidates", title_justify="left"
    )
    for each in selection.candidates:
        table.add_row(
            f"{each.group}/{each.name}",
            f"{each.fourth.mean:.2f}",
            f"{each.fifth.mean:.2f}",
            interval(each.difference),
            each.verdict if each.verdict == "target" else f"{each.verdict}: {each.why}",
        )
    return table


def _lines(study: Study, selection: Selection, report: Path) -> Iterator[str]:
    yield from selection.notes
    for effect in selection.effects:
        yield f"{effect.claim}: {effect.verdict} ({effect.evidence})"
    for rule, title in _TITLES.items():
        names = selection.of(rule)
        first = f", {names[0]} first" if names else ""
        yield f"{title}: {len(names)}{first}"
    yield f"numbers: {study.folder / NAME}, report: {report}"
    yield from _next(study, selection)


def _next(study: Study, selection: Selection) -> Iterator[str]:
    folder = study.folder
    use = ["twinveil", "mask", "recognise", "PICTURE", "--folder", folder]
    for rule in _TITLES:
        for name in selection.of(rule)[:1]:
            file = folder / PLACES[rule] / f"{name}.png"
            yield f"next: {typed(*use, *([] if rule == 'published' else ['--rule', rule]))}"
            yield f"  or: {typed('twinveil', 'train', study.settings.data, '--mask', file)}"
            return
    yield f"next, with a mask of your own choice: {typed(*use, '--mask', folder / 'masks' / 'NAME.png')}"
