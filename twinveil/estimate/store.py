"""Items that lie ready: how many a burst of pictures needs, what they take, what a picture waits without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinveil.start.settings import MAX_PREPARED, PREPARED
from twinveil.wording import time_text

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Burst:
    """So many pictures, one every so many seconds."""

    pictures: int
    every: float = 0.0

    def needs(self, answer: float, item: float) -> int:
        """Items that must lie ready, so that none of its pictures waits for one.

        answer: seconds for which a picture keeps S1 busy. In the rest it makes items, one in `item` seconds.
        The last picture decides: it finds what lay ready and what was made since the first.
        """
        made = min(1.0, max(0.0, self.every - answer) / item)
        return self.pictures - int((self.pictures - 1) * made)


def store(
    burst: Burst | None, answer: float, item: float, sizes: tuple[int, int], wait: float
) -> dict[str, Any]:
    """JSON-ready, for a burst or for what S1 keeps by default.

    sizes: of one item at S1 and at S2. wait: seconds of a picture that finds none.
    """
    ready = burst.needs(answer, item) if burst else PREPARED
    return {
        "pictures": burst.pictures if burst else None,
        "every_seconds": burst.every if burst else None,
        "ready": ready,
        "most": MAX_PREPARED,
        "memory_bytes": {
            role: ready * size for role, size in zip(("cloud_s1", "cloud_s2"), sizes, strict=True)
        },
        "wait_seconds": wait,
    }


def store_text(made: dict[str, Any]) -> str:
    """The same for a person."""
    ready, pictures, every = made["ready"], made["pictures"], made["every_seconds"]
    items = f"{ready} {'item' if ready == 1 else 'items'}"
    if pictures is None:
        said = f"{items} lie ready by default (--prepare of cloud_s1)"
    else:
        pace = f"one every {every:g} s" if every else "one after the other"
        said = f"{pictures} pictures, {pace}, want {items} ready (--prepare of cloud_s1)"
    if ready > made["most"]:
        said += f", which keeps {made['most']} at most"
    places = (f"{size / MIB:,.0f} MiB at {role}" for role, size in made["memory_bytes"].items())
    return (
        f"{said}: {' and '.join(places)}; a picture that finds none waits {time_text(made['wait_seconds'])}"
    )
