"""Progress of long work on stderr: a live bar in a terminal, plain lines elsewhere; never silent for long.

with steps("outsourcing mnist 1") as step:
    step(3, 12, "conv3")        # done, of how many, what is at work
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from twinveil.cli.terminal import Terminal
from twinveil.wording import Telling, visible

SIGN_OF_LIFE_SECONDS = 4.0


_WHOLE = Column(overflow="fold")

_COLUMNS = (
    SpinnerColumn("line"),  # in letters that every terminal has
    TextColumn("{task.description}", markup=False, table_column=_WHOLE),
    BarColumn(bar_width=24),
    TaskProgressColumn(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[label]}", style="dim", markup=False, table_column=_WHOLE),
)


@contextmanager
def steps(title: str) -> Iterator[Telling]:
    """Shows work under a title until the block ends."""
    terminal = Terminal(stderr=True)
    with _bar(title, terminal) if terminal.is_terminal else _lines(title, terminal) as step:
        yield step


@contextmanager
def _bar(title: str, terminal: Terminal) -> Iterator[Telling]:
    with Progress(*_COLUMNS, console=terminal, transient=True) as progress:
        task = progress.add_task(visible(title), total=None, label="")

        def step(done: int, total: int, label: str) -> None:
            progress.update(task, completed=done, total=total or None, label=visible(label))

        yield step


@contextmanager
def _lines(title: str, terminal: Terminal) -> Iterator[Telling]:
    """A line for what is new, at most one a second, and one every few seconds for what only takes long."""
    started = time.monotonic()
    ended = threading.Event()
    text = shown = ""
    shown_at = 0.0

    def say() -> None:
        nonlocal shown, shown_at
        shown, shown_at = text, time.monotonic()
        terminal.say(f"{title}{shown} ({shown_at - started:.0f} s)")

    def step(done: int, total: int, label: str) -> None:
        nonlocal text
        place = f" {done}/{total}" if total else ""
        text = f":{place} {label}".rstrip(": ")

    def watch() -> None:
        while not ended.wait(1.0):
            if text != shown or time.monotonic() - shown_at >= SIGN_OF_LIFE_SECONDS:
                say()

    say()
    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield step
    finally:
        ended.set()
        watcher.join()
