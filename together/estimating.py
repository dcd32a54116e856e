"""twinveil estimate: what a classification will cost, before anything runs; the plan alone decides."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Column, Table

from together.bench.networks import default_plan
from twinveil.cli.options import key_sizes
from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal
from twinveil.crypto.native.level import GMPY2, level
from twinveil.errors import BadInput, BadPlan, InvalidKey, TooMuch, TwinveilError
from twinveil.estimate.bounds import bounds
from twinveil.estimate.cost import Cost, Costs, total
from twinveil.estimate.machine import Machine, measure
from twinveil.estimate.memory import memory
from twinveil.estimate.query import ahead, import_cost, online
from twinveil.estimate.query import estimate as query_cost
from twinveil.estimate.seconds import (
    USER_MESSAGES,
    Link,
    Seconds,
    of_function,
    of_functions,
    pace,
    rounds,
    wall,
)
from twinveil.estimate.store import Burst, store, store_text
from twinveil.network.folder import find_model, load_plan
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.size import import_size, item_size, query_size, refuse_unrunnable
from twinveil.start.config import variable
from twinveil.wording import count_text, time_text

MIB = 1 << 20


def estimate(
    model: Annotated[
        str | None,
        typer.Argument(help="A model's folder, or NAME or NAME@VERSION. Default: the default network."),
    ] = None,
    engine: Annotated[
        Literal["packed", "textbook", "both"], typer.Option(help="Which engine; both: side by side.")
    ] = "both",
    key_bits: Annotated[
        str,
        typer.Option(
            envvar=variable("key_bits"), help="Lengths of the Paillier modulus, with commas between."
        ),
    ] = "2048,3072",
    pictures: Annotated[int, typer.Option(min=1, max=MAX_PICTURES, help="Pictures that share a query.")] = 1,
    label_only: Annotated[
        bool, typer.Option("--label-only", help="The user gets the label, not the class vector.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, envvar=variable("workers"), help="Of each cloud; 0: one a core.")
    ] = 0,
    latency_ms: Annotated[
        float, typer.Option("--latency", min=0, help="Of the link between the clouds, one way, milliseconds.")
    ] = 0.0,
    bandwidth: Annotated[
        float | None, typer.Option(min=0.001, help="Of the link, in Mbit/s. Default: no limit.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, help="Pictures that come close together: how many items they want.")
    ] = None,
    every: Annotated[
        float | None, typer.Option("--pace", min=0, help="Seconds from one picture of the burst to the next.")
    ] = None,
    state: Annotated[Path, typer.Option(envvar=variable("state"), help="Where trained models are.")] = Path(
        ".twinveil"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what a classification costs before it is paid: bytes, messages, operations, memory, seconds.

    Apart for a model's import, for what is made ahead of a picture, and for the picture itself. Bytes,
    messages and operations are exact. Seconds follow from a calibration of this machine, which takes a few
    seconds for each key size, and hold where both clouds run on it. What the clouds would refuse is said,
    with the reason; if that is all there is, this verb fails.
    """
    if every is not None and burst is None:
        raise BadInput("--pace is a burst's: give --burst, too")
    plan = default_plan() if model is None else load_plan(find_model(model, state))
    link = Link(latency_ms / 1e3, bandwidth * 1e6 if bandwidth else None)
    engines = ("packed", "textbook") if engine == "both" else (engine,)
    made = []
    for bits in key_sizes(key_bits):
        with steps(f"measuring this machine at {bits} bits"):
            machine = measure(bits)
        made += [
            figures(
                plan,
                Params(bits),
                each,
                machine,
                link,
                pictures=1 if each == "textbook" else pictures,
                workers=workers,
                label_only=label_only,
                burst=None if burst is None else Burst(burst, every or 0.0),
            )
            for each in engines
        ]
    if as_json:
        typer.echo(json.dumps(made, indent=2))
    else:
        _show(Terminal(), made)
    if all(each["refused"] for each in made):
        raise BadPlan(f"no cloud would run this: {made[0]['refused']}")


def figures(
    plan: Plan,
    params: Params,
    engine: str,
    machine: Machine,
    link: Link,
    *,
    pictures: int = 1,
    workers: int = 0,
    label_only: bool = False,
    burst: Burst | None = None,
) -> dict[str, Any]:
    """Everything about one engine and key size, JSON-ready; workers: 0 is one a core.

    Where there is not even a layout of such a network, `refused` alone says why.
    """
    workers = workers or machine.cores
    said: dict[str, Any] = {
        "engine": engine,
        "key_bits": params.key_bits,
        "pictures": pictures,
        "label_only": label_only,
        "cores": machine.cores,
        "workers": workers,
        "link": asdict(link),
        "refused": refusal(plan, params, engine, pictures),
    }
    try:
        costs = query_cost(plan, params, engine, pictures=pictures, label_only=label_only)
        imported = import_cost(plan, params, engine)
    except (BadPlan, InvalidKey, TooMuch):
        return said
    machine = replace(machine, cores=min(machine.cores, workers))
    seconds = of_functions(costs, machine, link)
    before, after = ahead(costs, engine), online(costs, engine)
    answered = wall({name: seconds[name] for name in after}) + USER_MESSAGES * link.latency
    whole = total(costs)
    apart = workers if level() == GMPY2 else 1
    places = memory(plan, params, engine, pictures, apart)
    said |= {
        "import": _function(imported, of_function(imported, machine, link))
        | {"owner_bytes": 2 * import_size(plan, params, engine).data},
        "ahead": _functions(before, seconds) | {"pace_seconds": pace(before, machine, link) / pictures},
        "online": _functions(after, seconds) | {"rounds": rounds(after)},
        "bytes": whole.bytes,
        "messages": whole.messages,
        "products": whole.products,
        "operations": {"cloud_s1": whole.s1.as_dict(), "cloud_s2": whole.s2.as_dict()},
        "memory_bytes": {role: asdict(place) | {"peak": place.peak} for role, place in places.items()},
        "latency_seconds": answered,
        "sustained_seconds": answered + wall({name: seconds[name] for name in before}),
        "processor_seconds": sum(each.processor for each in seconds.values()),
        "best_known": _best_known(plan, params, engine),
    }
    if engine == "packed":
        item, made = item_size(plan, params), said["ahead"]
        sizes = (item.memory_s1, item.memory_s2)
        said["store"] = store(
            burst, answered / pictures, made["pace_seconds"], sizes, made["seconds"] / pictures
        )
    return said


def refusal(plan: Plan, params: Params, engine: str, pictures: int) -> str | None:
    """Why the clouds would not run this, or None: the import is refused, or such a query."""
    try:
        refuse_unrunnable(plan, params, (engine,))
    except TwinveilError as error:
        return str(error)
    fault = query_size(plan, params, engine, pictures).fault
    return fault and f"{pictures} pictures in one query have {fault}: ask for fewer"


def _best_known(plan: Plan, params: Params, engine: str) -> list[dict[str, object]]:
    if engine != "packed":
        return []
    return [bound.as_dict() for bound in bounds(Layouts(plan, params, ("packed",)).packed.item)]


def _functions(costs: Costs, seconds: dict[str, Seconds]) -> dict[str, Any]:
    whole = total(costs)
    return {
        "functions": {name: _function(cost, seconds[name]) for name, cost in costs.items()},
        "bytes": whole.bytes,
        "messages": whole.messages,
        "seconds": wall({name: seconds[name] for name in costs}),
    }


def _function(cost: Cost, seconds: Seconds) -> dict[str, Any]:
    return cost.as_dict() | {"seconds": seconds.wall, "processor_seconds": seconds.processor}


def _show(terminal: Terminal, made: list[dict[str, Any]]) -> None:
    told = [each for each in made if "online" in each]
    for each in told:
        terminal.show(_sections(each))
        if each["best_known"]:
            terminal.show(_bounds(each))
    if told:
        terminal.show(_summary(told))
        terminal.show(_memory(told))
    for each in told:
        if "store" in each:
            terminal.say(f"{each['engine']}, {each['key_bits']} bits: {store_text(each['store'])}")
    for each in made:
        if each["refused"]:
            terminal.say(f"{each['engine']}, {each['key_bits']} bits: {each['refused']}")


def _sections(made: dict[str, Any]) -> Table:
    many = "picture" if made["pictures"] == 1 else f"{made['pictures']} pictures in one query"
    names = ("bytes", "messages", "ops S1", "ops S2", "SMPs", "ANDs", "time")
    table = Table(
        "when",
        "function",
        *(Column(name, justify="right") for name in names),
        title=f"{made['engine']}, {made['key_bits']} bits, {many}",
        title_justify="left",
    )
    sections = {"import": {"import": made["import"]}}
    sections |= {when: made[when]["functions"] for when in ("ahead", "online")}
    for when, functions in sections.items():
        for name, each in functions.items():
            table.add_row(
                when,
                name,
                count_text(each["bytes"]),
                f"{each['messages']:,}",
                count_text(sum(each["cloud_s1"].values())),
                count_text(sum(each["cloud_s2"].values())),
                count_text(each["products"]),
                count_text(each["and_gates"]),
                time_text(each["seconds"]),
            )
            when = ""
        table.add_section()
    return table


def _bounds(made: dict[str, Any]) -> Table:
    columns = ("ours", "best known", "ratio")
    table = Table("an item", *(Column(name, justify="right") for name in columns), title_justify="left")
    for each in made["best_known"]:
        table.add_row(each["what"], f"{each['ours']:,}", f"{each['best']:,}", f"{each['ratio']:.2f}")
    return table


def _summary(made: list[dict[str, Any]]) -> Table:
    names = ("online", "rounds", "bytes", "ahead", "an item every", "bytes ahead", "nothing ahead", "import")
    table = Table(
        "engine",
        Column("key", justify="right"),
        *(Column(name, justify="right") for name in names),
        title=summary_title(made[0]),
        title_justify="left",
    )
    for each in made:
        before, after = each["ahead"], each["online"]
        table.add_row(
            each["engine"],
            str(each["key_bits"]),
            time_text(each["latency_seconds"]),
            f"{after['rounds']:,}",
            count_text(after["bytes"]),
            time_text(before["seconds"]),
            time_text(before["pace_seconds"]),
            count_text(before["bytes"]),
            time_text(each["sustained_seconds"]),
            time_text(each["import"]["seconds"]),
        )
    return table


def _memory(made: list[dict[str, Any]]) -> Table:
    names = ("process", "nonces", "tables", "model", "item", "making", "query", "peak")
    table = Table(
        "MiB at",
        "engine",
        Column("key", justify="right"),
        *(Column(name, justify="right") for name in names),
        title="memory, about: process, tables, one model; an item ready, one in the making; a query",
        title_justify="left",
    )
    for each in made:
        for role, place in each["memory_bytes"].items():
            sizes = (f"{place[name] / MIB:,.1f}" for name in names)
            table.add_row(role, each["engine"], str(each["key_bits"]), *sizes)
    return table


def summary_title(made: dict[str, Any]) -> str:
    """Machine, workers and link for which the seconds hold."""
    cores, workers, link = made["cores"], made["workers"], made["link"]
    parts = [f"a query on this machine's {cores} {'core' if cores == 1 else 'cores'}"]
    if workers != cores:
        parts.append(f"{workers} {'worker' if workers == 1 else 'workers'} at each cloud")
    way = [f"{1e3 * link['latency']:g} ms one way"] if link["latency"] else []
    way += [f"{link['bandwidth'] / 1e6:g} Mbit/s"] if link["bandwidth"] else []
    if way:
        parts.append(f"a link of {' and '.join(way)}")
    if made["label_only"]:
        parts.append("the label only")
    return "; ".join(parts)
