"""How the cost grows: with the picture's side, and with the number of pictures that are asked together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from together.bench.networks import default_plan, some_pictures, write
from together.bench.picture import Say, Wanted
from together.bench.session import Session
from twinveil.errors import TwinveilError
from twinveil.estimate.cost import total
from twinveil.estimate.query import AHEAD, estimate
from twinveil.network.plan import Plan
from user.client import BATCH

SIDES = (28, 32, 56, 64)
COUNTS = (1, 2, 4, 8, 16)
COLOURS = 3


def growth(wanted: Wanted, say: Say, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each side of one picture, for colour, and for each number of pictures of the default size.

    What could not be measured has an `error` in its row instead of figures.
    """
    shapes = [(side, 1) for side in (SIDES[:2] if quick else SIDES)]
    shapes += [] if quick else [(SIDES[0], COLOURS)]
    for side, channels in shapes:
        plan = default_plan(side, channels, small=quick)
        if plan == wanted.plan:  # measured below, as the first of the numbers of pictures
            continue
        yield from _rows(wanted, plan, f"growth-{side}-{channels}", (1,), say)
    counts = COUNTS[:2] if quick else COUNTS
    yield from _rows(wanted, wanted.plan, wanted.model, counts, say)


def _rows(
    wanted: Wanted, plan: Plan, name: str, counts: tuple[int, ...], say: Say
) -> Iterator[dict[str, Any]]:
    folder = wanted.model_folder
    if plan is not wanted.plan:
        folder = write(wanted.folder.parent / "models" / name, plan, name)
    own = replace(wanted, plan=plan, model=name, model_folder=folder)
    done = 0
    try:
        with own.session(max(counts)) as running:
            running.classify(some_pictures(plan, 1))
            for count in counts:
                row = _row(own, running, count)
                done += 1
                say(
                    f"{plan.image_shape}, {count} pictures: {row['online_seconds_a_picture']:.3f} s a picture"
                )
                yield row
    except TwinveilError as error:
        for count in counts[done:]:
            yield {"image_shape": list(plan.image_shape), "pictures": count, "error": str(error)}


def _row(wanted: Wanted, running: Session, count: int) -> dict[str, Any]:
    """So many share a query as the user's client puts into one; an item a picture lies ready."""
    plan, asked = wanted.plan, some_pictures(wanted.plan, count)
    running.wait_ready(count)
    queries = [running.classify(asked[start : start + BATCH]) for start in range(0, count, BATCH)]
    seconds = sum(query.seconds for query in queries)
    items = [query.sum("seconds", functions=AHEAD) for query in queries]
    return {
        "image_shape": list(plan.image_shape),
        "pictures": count,
        "queries": len(queries),
        "products": sum(plan.products(node) for node in plan.linear_nodes),
        "online_seconds": seconds,
        "online_seconds_a_picture": seconds / count,
        "item_seconds": sum(items) / count,
        "bytes": sum(int(query.sum("bytes")) for query in queries),
        "predicted_bytes": sum(
            total(estimate(plan, wanted.params, pictures=query.pictures)).bytes for query in queries
        ),
    }
