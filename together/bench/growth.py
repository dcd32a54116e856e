"""How the cost grows: with the picture's side, and with the number of pictures that are asked together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from together.bench.networks import default_plan, some_pictures, write
from together.bench.picture import WARM_UP, Say, Wanted
from together.bench.session import Query, Session
from twinveil.errors import TwinveilError
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine
from twinveil.estimate.query import estimate
from twinveil.estimate.seconds import of_query, sustained
from twinveil.network.plan import Plan
from user.client import BATCH

SIDES = (28, 32, 56, 64)
COUNTS = (1, 2, 4, 8, 16)
COLOURS = 3


def growth(wanted: Wanted, machine: Machine, say: Say, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each side of one picture, for colour, and for each number of pictures of the default size.

    What could not be measured has an `error` in its row instead of figures.
    """
    shapes = [(side, 1) for side in (SIDES[:2] if quick else SIDES)]
    shapes += [] if quick else [(SIDES[0], COLOURS)]
    for side, channels in shapes:
        plan = default_plan(side, channels, small=quick)
        if plan == wanted.plan:  # measured below, as the first of the numbers of pictures
            continue
        yield from _rows(wanted, plan, f"growth-{side}-{channels}", (1,), machine, say)
    counts = COUNTS[:2] if quick else COUNTS
    yield from _rows(wanted, wanted.plan, wanted.model, counts, machine, say)


def _rows(
    wanted: Wanted, plan: Plan, name: str, counts: tuple[int, ...], machine: Machine, say: Say
) -> Iterator[dict[str, Any]]:
    folder = wanted.model_folder
    if plan is not wanted.plan:
        folder = write(wanted.folder.parent / "models" / name, plan, name)
    own = replace(wanted, plan=plan, model=name, model_folder=folder)
    done = 0
    try:
        with own.session() as running:
            for _ in range(WARM_UP):
                _ask(running, plan, 1)
            for count in counts:
                row = _row(own, _ask(running, plan, count), machine)
                done += 1
                say(f"{plan.image_shape}, {count} pictures: {row['seconds_a_picture']:.2f} s a picture")
                yield row
    except TwinveilError as error:
        for count in counts[done:]:
            yield {"image_shape": list(plan.image_shape), "pictures": count, "error": str(error)}


def _ask(running: Session, plan: Plan, count: int) -> list[Query]:
    """Pictures as a user asks for them: so many share a query as the user's client puts into one."""
    asked = some_pictures(plan, count)
    return [running.classify(asked[start : start + BATCH]) for start in range(0, count, BATCH)]


def _row(wanted: Wanted, queries: list[Query], machine: Machine) -> dict[str, Any]:
    plan, count = wanted.plan, sum(query.pictures for query in queries)
    workers = wanted.workers or machine.cores
    costs = [estimate(plan, wanted.params, pictures=query.pictures, workers=workers) for query in queries]
    machine = replace(machine, cores=min(machine.cores, workers))
    seconds = sum(query.seconds for query in queries)
    return {
        "image_shape": list(plan.image_shape),
        "pictures": count,
        "queries": len(queries),
        "products": sum(plan.products(node) for node in plan.linear_nodes),
        "seconds": seconds,
        "seconds_a_picture": seconds / count,
        "cpu_seconds": sum(sum(query.cpu.values()) for query in queries),
        "bytes": sum(int(query.sum("bytes")) for query in queries),
        "predicted_bytes": sum(total(cost).bytes for cost in costs),
        "predicted_seconds": sum(sustained(of_query(cost, machine)) for cost in costs),
    }
