"""How the cost grows: with the picture's side, and with the number of pictures that share a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinveil.bench.networks import default_plan, random_pictures, write
from twinveil.bench.picture import Say, Wanted
from twinveil.bench.session import Query, Session, session
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine
from twinveil.estimate.query import estimate
from twinveil.estimate.seconds import of_query, sustained
from twinveil.plan import Plan

SIDES = (28, 32, 56, 64)
BATCHES = (1, 2, 4, 8, 16)
CHANNELS = 3


def growth(wanted: Wanted, machine: Machine, say: Say, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each side of one picture, for colour, and for each number of pictures of the default size."""
    shapes = [(side, 1) for side in (SIDES[:2] if quick else SIDES)]
    shapes += [] if quick else [(SIDES[0], CHANNELS)]
    for side, channels in shapes:
        plan = default_plan(side, channels, small=quick)
        yield from _rows(wanted, plan, f"growth-{side}-{channels}", (1,), machine, say)
    batches = BATCHES[:2] if quick else BATCHES
    yield from _rows(wanted, wanted.plan, wanted.model, batches, machine, say)


def _rows(
    wanted: Wanted, plan: Plan, name: str, batches: tuple[int, ...], machine: Machine, say: Say
) -> Iterator[dict[str, Any]]:
    folder = wanted.model_folder
    if plan is not wanted.plan:
        folder = write(wanted.folder.parent / "models" / name, plan, name)
    own = replace(wanted, plan=plan, model=name, model_folder=folder)
    with _running(own, wanted.folder) as running:
        _one(running, plan, 1)  # tables are made here
        for pictures in batches:
            query = _one(running, plan, pictures)
            say(f"{plan.image_shape}, {pictures} pictures: {query.seconds / pictures:.2f} s a picture")
            yield _row(own, query, machine)


def _running(wanted: Wanted, folder: Path) -> Any:
    return session(
        folder,
        wanted.model_folder,
        wanted.model,
        wanted.params.key_bits,
        prepare=0,
        workers=wanted.workers,
        insecure_small_key=wanted.params.insecure_small_key,
    )


def _one(running: Session, plan: Plan, pictures: int) -> Query:
    return running.classify(random_pictures(plan, pictures))


def _row(wanted: Wanted, query: Query, machine: Machine) -> dict[str, Any]:
    plan = wanted.plan
    costs = estimate(plan, wanted.params, pictures=query.pictures, workers=wanted.workers or machine.cores)
    return {
        "image_shape": list(plan.image_shape),
        "pictures": query.pictures,
        "products": sum(plan.products(node) for node in plan.linear_nodes),
        "seconds": query.seconds,
        "seconds_a_picture": query.seconds / query.pictures,
        "cpu_seconds": sum(query.cpu.values()),
        "bytes": int(query.sum("bytes")),
        "predicted_bytes": total(costs).bytes,
        "predicted_seconds": sustained(of_query(costs, machine)),
    }
