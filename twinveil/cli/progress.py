"""Progress of long work on stderr: a live bar in a terminal, plain lines elsewhere; never silent for long.

with steps("outsourcing mnist 1") as step:
    step(3, 12, "conv3")        # done, of how many, what is at work
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

SIGN_OF_LIFE_SECONDS = 4.0

Step = Callable[[int, int, str], None]

_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description}"),
    BarColumn(bar_width=24),
    TaskProgressColumn(),
    TimeElapsedColumn(),
    TextColumn("[dim]{task.fields[label]}"),
)


@contextmanager
def steps(title: str, console: Console | None = None) -> Iterator[Step]:
    """Shows work under a title until the block ends."""
    console = console or Console(stderr=True)
    with _bar(title, console) if console.is_terminal else _lines(title, console) as step:
        yield step


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Step]:
    with Progress(*_COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, label="")

        def step(done: int, total: int, label: str) -> None:
            progress.update(task, completed=done, total=total or None, label=label)

        yield step


@contextmanager
def _lines(title: str, console: Console) -> Iterator[Step]:
    """A line for what is new, at most one a second, and one every few seconds for what only takes long."""
    started = time.monotonic()
    ended = threading.Event()
    text = shown = ""
    shown_at = 0.0

    def say() -> None:
        nonlocal shown, shown_at
        shown, shown_at = text, time.monotonic()
        line = f"{title}{shown} ({shown_at - started:.0f} s)"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

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
