"""Pictures over a link between any two roles, which delays and limits: measured, never computed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from twinveil.errors import BadInput, TwinveilError
from twinveil.estimate.seconds import Link
from twinveil.start.process import command

_LINK = re.compile(r"(\d+(?:\.\d+)?)ms,(\d+(?:\.\d+)?)mbit")


def parse_link(text: str) -> Link:
    """Of ROUNDTRIPms,RATEmbit. Raises BadInput."""
    found = _LINK.fullmatch(text)
    if found is None or not float(found[2]):
        raise BadInput(f"'{text}' is no link: write the round trip and the rate, such as 40ms,100mbit")
    return Link(float(found[1]) / 2e3, float(found[2]) * 1e6)


def no_link() -> str | None:
    """Why no link can be had on this machine, which takes network namespaces; None where it can."""
    done = subprocess.run(
        command("together.bench.namespaces"),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return _reason(done.stderr) if done.returncode else None


def measure_link(link: Link, runs: int, say: Callable[[str], None], **system: Any) -> list[float]:
    """Seconds of each picture. system: what `session` takes but for items and how it starts.

    Raises TwinveilError with what kept a picture from being answered.
    """
    wanted = json.dumps({"link": astuple(link), "runs": runs} | system, default=str)
    made = []
    with _ended(command("together.bench.apart", wanted)) as process:
        for line in process.stdout or ():
            made.append(float(line))
            say(f"over a link, picture {len(made)} of {runs}: {1e3 * made[-1]:.0f} ms")
        reason = _reason(process.stderr.read() if process.stderr else "")
    if process.returncode:
        raise TwinveilError(f"pictures over a link: {reason}")
    return made


def _reason(stderr: str) -> str:
    return (stderr.strip().splitlines() or ["it ended without a word"])[-1].removeprefix("error: ")


@contextmanager
def _ended(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is told to end when the block does, and waited for."""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            process.wait()
            raise
