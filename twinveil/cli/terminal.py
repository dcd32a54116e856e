"""What commands show to a person: lines and tables, in which text from outside is text and nothing else.

Rich takes "[x]" for markup and hands controls on to the terminal; what a card, a peer or a file's name says
must do neither. So every command shows what it has through a Terminal, and colours it by `styled`.
"""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console  # noqa: TID251
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text  # noqa: TID251

from twinveil.wording import visible

UNLIMITED = 10_000
"""Columns of a pipe or file: there a row stays on one line, for grep and awk."""


class Terminal(Console):
    """stdout or stderr, with no markup in what it is given."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = UNLIMITED

    def render_str(self, text: str, **options: Any) -> Text:
        """Where Rich makes its texts of our strings: lines, cells, heads and titles."""
        return super().render_str(visible(text), **options)

    def say(self, *parts: str | Text) -> None:
        """One line; the terminal itself wraps it, so that a path can be copied whole."""
        self.print(*parts, sep="", soft_wrap=True)

    def show(self, table: Table) -> None:
        """A table with every word whole; where it has no room for that, each row's cells line by line."""
        room = self.options.update(max_width=UNLIMITED)
        sizes = [
            [Measurement.get(self, room, cell) for cell in (column.header, *column.cells)]
            for column in table.columns
        ]
        least = [max(1, *(size.minimum for size in each)) for each in sizes]
        most = [max(1, *(size.maximum for size in each)) for each in sizes]
        spare = self.width - Measurement.get(self, room, table).maximum + sum(most) - sum(least)
        if spare < 0:
            self._show_records(table)
            return
        # Who wants little gets it, the others share what is left.
        wishes = sorted((most[at] - least[at], at) for at in range(len(sizes)))
        for done, (wish, at) in enumerate(wishes):
            given = min(wish, spare // (len(wishes) - done))
            table.columns[at].width = least[at] + given
            spare -= given
        self.print(table)

    def _show_records(self, table: Table) -> None:
        names = [str(column.header) for column in table.columns]
        indent = max(map(len, names), default=0) + 2
        for line in filter(None, (table.title, table.caption)):
            self.say(str(line))
        for row in zip(*(column.cells for column in table.columns), strict=True):
            for name, cell in zip(names, row, strict=True):
                if str(cell):
                    self.say(name.ljust(indent), cell if isinstance(cell, Text) else str(cell))
            self.say()


def styled(text: str, style: str) -> Text:
    """Text from anywhere, in a colour of ours."""
    return Text(visible(text), style)
