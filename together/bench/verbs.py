"""twinveil bench: what classification costs on this machine, through real processes over mutual TLS."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from together.bench.growth import growth as grow
from together.bench.host import host, line
from together.bench.hosts import measure_hosts
from together.bench.link import no_link, parse_link
from together.bench.native import native_ratios
from together.bench.networks import default_plan, write
from together.bench.picture import Say, Wanted, measure_picture, summarise
from together.bench.plots import draw, ready
from together.bench.report import by_name, of_hosts, tables
from together.bench.security import measure_security
from together.bench.steps import all_steps
from together.bench.textbook import function_products
from twinveil.cli.options import key_sizes
from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal
from twinveil.crypto.keygen import generate
from twinveil.crypto.native.level import level
from twinveil.errors import BadInput
from twinveil.estimate.seconds import Link
from twinveil.files import PUBLIC, check_place, write_report
from twinveil.network.folder import find_model, load_card, load_plan
from twinveil.params import MIN_KEY_BITS, Params
from twinveil.start.config import variable
from twinveil.start.local_folder import settle_near
from twinveil.start.settings import UserSettings

QUICK_KEY_BITS = 512
STEP_RUNS = 5


def bench(
    model: Annotated[
        str | None,
        typer.Argument(help="A model's folder or name. Default: the default network, arbitrary integers."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write every figure here.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots (SVG).")] = None,
    key_bits: Annotated[
        str,
        typer.Option(
            envvar=variable("key_bits"), help="Lengths of the Paillier modulus, with commas between."
        ),
    ] = "2048,3072",
    repeats: Annotated[int, typer.Option(min=1, help="Pictures that are timed with an item ready.")] = 30,
    stream: Annotated[int, typer.Option(min=2, help="Pictures one after the other, nothing ahead.")] = 20,
    growth: Annotated[
        bool, typer.Option("--growth", help="Also other picture sizes and several pictures a query.")
    ] = False,
    security: Annotated[
        bool,
        typer.Option("--security", help="Also what mutual TLS and checks cost, as ratios."),
    ] = False,
    latency_ms: Annotated[
        float, typer.Option("--latency", min=0, help="Of a link, one way, milliseconds: for the steps.")
    ] = 10.0,
    bandwidth: Annotated[float, typer.Option(min=0.001, help="Of that link, in Mbit/s.")] = 1000.0,
    link: Annotated[
        str | None,
        typer.Option(
            metavar="RTTms,RATEmbit",
            help="Such as 40ms,100mbit: also pictures over a link between any two roles. On Linux, as root.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tiny network and an insecure key: whether it runs, no more.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0, envvar=variable("workers"), help="Threads (gmpy2: processes) of each cloud; 0: one a core."
        ),
    ] = 0,
    folder: Annotated[Path, typer.Option(help="For keys, models and logs; found again.")] = Path(
        ".twinveil/bench"
    ),
    config: Annotated[
        Path | None,
        typer.Option(
            help="config.toml of a user's kit: measure the clouds that it names, with the MODEL there."
        ),
    ] = None,
) -> None:
    """Measure items, pictures that spend them, a stream of pictures, every function; and the textbook's.

    The clouds, the owner and the user run as four processes on this machine. With --json the figures have
    the names of the project's bars; those of a second key size end in _BITS.
    """
    if json_file is not None:
        check_place(json_file)
    if config is not None:
        _hosts(config, model, repeats, json_file)
        return
    if plots is not None:
        ready(plots)
    if quick:
        repeats, stream = min(repeats, 2), min(stream, 3)
    terminal = Terminal()
    real = _real(link, terminal) if link else None
    all_wanted = [
        replace(_wanted(model, folder, size, repeats, stream, workers, quick), link=real)
        for size in ([QUICK_KEY_BITS] if quick else key_sizes(key_bits))
    ]
    first, thought = all_wanted[0], Link(latency_ms / 1e3, bandwidth * 1e6)
    facts = host()
    terminal.say(line(facts))
    figures: dict[str, Any] = {"host": facts, "native_level": level(), "link": asdict(thought)}
    figures |= {"details": {}, "steps": [], "growth": []}
    with steps("measuring") as step:

        def say(text: str) -> None:
            step(0, 0, text)

        def keep() -> None:
            if json_file is not None:
                write_report(json_file, json.dumps(figures, indent=2) + "\n", PUBLIC)

        for wanted in all_wanted:
            figures["details"][str(wanted.params.key_bits)] = _key_size(wanted, say)
            figures |= by_name(figures["details"])
            keep()
        say("steps by themselves")
        alone = all_steps(generate(first.params), first.params, min(repeats, STEP_RUNS), quick)
        figures["steps"] = [each.as_dict(thought) for each in alone]
        keep()
        if growth:
            figures["growth"] = list(grow(first, say, quick))
        if security:
            figures["security"] = measure_security(first, say)
        keep()
    for table in tables(figures):
        terminal.show(table)
    for name, cost in figures.get("security", {}).items():
        terminal.say(f"{name}: {cost['ratio']:.3f} times the time without")
    for path in draw(figures, plots) if plots else ():
        terminal.say(f"drawn: {path}")


def _hosts(config: Path, model: str | None, repeats: int, json_file: Path | None) -> None:
    """The clouds of a kit, from this host."""
    if model is None:
        raise BadInput(
            "say which model of the kit's owner is to be asked: twinveil bench MODEL --config FILE"
        )
    settings = settle_near(UserSettings, {"config": config}, None, os.environ)
    with steps("measuring") as step:
        figures = {"host": host(), **measure_hosts(settings, model, repeats, lambda text: step(0, 0, text))}
    if json_file is not None:
        write_report(json_file, json.dumps(figures, indent=2) + "\n", PUBLIC)
    terminal = Terminal()
    terminal.say(line(figures["host"]))
    terminal.show(of_hosts(figures))


def _real(link: str, terminal: Terminal) -> Link | None:
    """As it was asked for; None, and a line that says why, where this machine has no such thing."""
    parsed, reason = parse_link(link), no_link()
    if reason is None:
        return parsed
    terminal.say(f"no picture is measured over a link: {reason}")
    return None


def _wanted(
    model: str | None, folder: Path, size: int, repeats: int, stream: int, workers: int, quick: bool
) -> Wanted:
    params = Params(size, insecure_small_key=size < MIN_KEY_BITS and quick)
    place = folder / f"{size}-bit"
    if model is None:
        name = "quick" if quick else "default"
        plan = default_plan(small=quick)
        model_folder = write(folder / "models" / name, plan, name)
    else:
        model_folder = find_model(model, Path(".twinveil"))
        plan, name = load_plan(model_folder), load_card(model_folder).name
    return Wanted(place, model_folder, name, plan, params, repeats, stream, workers)


def _key_size(wanted: Wanted, say: Say) -> dict[str, Any]:
    """Every figure at one key size."""
    measured = measure_picture(wanted, say)
    detail = summarise(measured, wanted) | native_ratios(wanted.params.key_bits)
    products = function_products(wanted.plan, wanted.params)
    seconds = detail["seconds"]["textbook_product"]["median"]
    for name in ("SCVL", "SCT"):  # the others are one circuit a stage here, and two functions there
        if name in detail["functions"]:
            detail["functions"][name]["textbook_seconds"] = products[name] * seconds
    bilinear = sum(wanted.plan.products(node) for node in wanted.plan.linear_nodes)
    ahead = detail["functions"]["SMP"]
    operations = sum(sum(kinds.values()) for kinds in ahead["operations"].values())
    detail["smp"] = {
        "products": bilinear,
        "seconds": (ahead["s1_cpu_seconds"] + ahead["s2_cpu_seconds"]) / bilinear,
        "operations": operations / bilinear,
        "textbook_products": sum(products.values()),
        "textbook_seconds": seconds,
    }
    return detail
