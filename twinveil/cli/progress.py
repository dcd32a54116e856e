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
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

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
    state = {"text": "", "shown": "", "at": 0.0}

    def say() -> None:
        state["shown"], state["at"] = state["text"], time.monotonic()
        seconds = time.monotonic() - started
        console.print(f"{title}{state['text']} ({seconds:.0f} s)", highlight=False, markup=False, soft_wrap=True)

    def step(done: int, total: int, label: str) -> None:
        state["text"] = (f": {done}/{total}" if total else ":") + f" {label}" if total or label else ""

    def watch() -> None:
        while not ended.wait(1.0):
            is_new = state["text"] != state["shown"]
            if is_new or time.monotonic() - float(state["at"]) >= SIGN_OF_LIFE_SECONDS:
                say()

    say()
    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield step
    finally:
        ended.set()
        watcher.join()
