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
from twinveil.estimate.bounds import bounds
from twinveil.estimate.cost import Costs, total
from twinveil.estimate.machine import Machine, measure
from twinveil.estimate.query import estimate as query_cost
from twinveil.estimate.seconds import Link, Seconds, latency, memory, of_query, rounds, sustained
from twinveil.network.folder import find_model, load_plan
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.packed.layout import PackedLayout
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
        int, typer.Option(min=0, envvar=variable("workers"), help="Processes of each cloud; 0: one a core.")
    ] = 0,
    latency_ms: Annotated[
        float, typer.Option("--latency", min=0, help="Of the link between the clouds, one way, milliseconds.")
    ] = 0.0,
    bandwidth: Annotated[
        float | None, typer.Option(min=0.001, help="Of the link, in Mbit/s. Default: no limit.")
    ] = None,
    state: Annotated[Path, typer.Option(envvar=variable("state"), help="Where trained models are.")] = Path(
        ".twinveil"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what a classification costs before it is paid: bytes, messages, operations, memory, seconds.

    Bytes, messages and operations are exact. Seconds follow from a calibration of this machine, which takes
    a second or two for each key size, and hold where both clouds run on it; no core is used without a worker.
    """
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
            )
            for each in engines
        ]
    if as_json:
        typer.echo(json.dumps(made, indent=2))
        return
    terminal = Terminal()
    for each in made:
        terminal.show(_functions(each))
        if each["best_known"]:
            terminal.show(_bounds(each))
    terminal.show(_summary(made))


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
) -> dict[str, Any]:
    """Everything about one engine and key size, JSON-ready. workers: 0 is one a core."""
    workers = workers or machine.cores
    costs = query_cost(plan, params, engine, pictures=pictures, workers=workers, label_only=label_only)
    seconds = of_query(costs, replace(machine, cores=min(machine.cores, workers)), link)
    whole = total(costs)
    return {
        "engine": engine,
        "key_bits": params.key_bits,
        "pictures": pictures,
        "functions": {name: _function(costs, name, seconds[name]) for name in costs},
        "bytes": whole.bytes,
        "messages": whole.messages,
        "rounds": rounds(costs),
        "operations": {"cloud_s1": whole.s1.as_dict(), "cloud_s2": whole.s2.as_dict()},
        "memory_bytes": memory(costs, plan, params.key_bits, engine, workers),
        "latency_seconds": latency(seconds, link),
        "sustained_seconds": sustained(seconds, link),
        "processor_seconds": sum(each.processor for each in seconds.values()),
        "d_seconds": machine.decryption,
        "best_known": _best_known(plan, params, engine, pictures, workers),
        "cores": machine.cores,
        "workers": workers,
        "label_only": label_only,
        "link": asdict(link),
    }


def _best_known(
    plan: Plan, params: Params, engine: str, pictures: int, workers: int
) -> list[dict[str, object]]:
    if engine != "packed":
        return []
    layout = PackedLayout(plan, params.key_bits, params.sigma, pictures)
    return [bound.as_dict() for bound in bounds(layout, workers)]


def _function(costs: Costs, name: str, seconds: Seconds) -> dict[str, Any]:
    return costs[name].as_dict() | {"seconds": seconds.wall, "processor_seconds": seconds.processor}


def _functions(made: dict[str, Any]) -> Table:
    many = "picture" if made["pictures"] == 1 else f"{made['pictures']} pictures in one query"
    names = ("bytes", "messages", "ops S1", "ops S2", "ANDs", "time")
    table = Table(
        "function",
        *(Column(name, justify="right") for name in names),
        title=f"{made['engine']}, {made['key_bits']} bits, {many}",
        title_justify="left",
    )
    for name, each in made["functions"].items():
        table.add_row(
            name,
            count_text(each["bytes"]),
            f"{each['messages']:,}",
            count_text(sum(each["cloud_s1"].values())),
            count_text(sum(each["cloud_s2"].values())),
            count_text(each["and_gates"]),
            time_text(each["seconds"]),
        )
    return table


def _bounds(made: dict[str, Any]) -> Table:
    columns = ("ours", "best known", "ratio")
    table = Table("all layers", *(Column(name, justify="right") for name in columns), title_justify="left")
    for each in made["best_known"]:
        table.add_row(each["what"], f"{each['ours']:,}", f"{each['best']:,}", f"{each['ratio']:.2f}")
    return table


def _summary(made: list[dict[str, Any]]) -> Table:
    names = ("latency", "unprepared", "bytes", "rounds", "MiB S1", "MiB S2")
    table = Table(
        "engine",
        Column("key", justify="right"),
        *(Column(name, justify="right") for name in names),
        title=summary_title(made[0]),
        title_justify="left",
    )
    for each in made:
        memory_of = each["memory_bytes"]
        table.add_row(
            each["engine"],
            str(each["key_bits"]),
            time_text(each["latency_seconds"]),
            time_text(each["sustained_seconds"]),
            count_text(each["bytes"]),
            f"{each['rounds']:,}",
            f"{memory_of['cloud_s1'] / MIB:,.0f}",
            f"{memory_of['cloud_s2'] / MIB:,.0f}",
        )
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
