"""The bench's figures by the bars' names, and its tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from twinveil.cli.terminal import styled
from twinveil.wording import count_text, time_text

NAMES = (
    "d_seconds",
    "latency_d",
    "sustained_d",
    "textbook_ratio",
    "bigint_share",
    "cpu_over_wall",
    "circuit_share",
    "garble_ns",
    "evaluate_ns",
    "peak_mib",
    "bytes",
    "rounds",
    "rounds_unprepared",
    "predicted_over_measured",
    "textbook_predicted_over_measured",
)
BARS = (
    ("latency_d", "prepared ahead, in D", 1500, "{:.0f}"),
    ("sustained_d", "nothing ahead, in D", 3000, "{:.0f}"),
    ("textbook_ratio", "times faster than the textbook", 10_000, "{:,.0f}"),
    ("bigint_share", "processor time in big integers", 0.70, "{:.0%}"),
    ("cpu_over_wall", "processor time over wall time", 1.6, "{:.2f}"),
    ("circuit_share", "circuits", 0.15, "{:.0%}"),
    ("garble_ns", "garbling, ns an AND", 150, "{:.0f}"),
    ("evaluate_ns", "evaluation, ns an AND", 60, "{:.0f}"),
    ("bytes", "bytes between the clouds", 90_000_000, "{:,}"),
    ("rounds", "rounds", 40, "{}"),
)
AT_LEAST = ("textbook_ratio", "bigint_share", "cpu_over_wall")
PEAK_MIB = 1024
PREDICTED = (0.67, 1.5)
PREDICTIONS = (
    ("latency", "prepared ahead"),
    ("sustained", "nothing ahead"),
    ("processor", "processor"),
)


def by_name(details: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The bars' figures of every key size; names of all but the first end in _BITS."""
    first = next(iter(details))
    return {
        name if bits == first else f"{name}_{bits}": detail[name]
        for bits, detail in details.items()
        for name in NAMES
    }


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Everything of one run."""
    made = []
    for bits, detail in figures["details"].items():
        made += [_bars(bits, detail), _seconds(bits, detail), _functions(bits, detail)]
    made.append(_steps(figures["steps"], figures["link"]))
    if figures.get("growth"):
        made.append(_growth(figures["growth"]))
    return made


def _bars(bits: str, detail: Mapping[str, Any]) -> Table:
    table = _table(f"{bits} bits", "what", ("seen", "wanted"))
    for key, name, limit, form in BARS:
        least = key in AT_LEAST
        met = detail[key] >= limit if least else detail[key] <= limit
        colour = "green" if met else "red"
        sign = ">=" if least else "<="
        table.add_row(name, styled(form.format(detail[key]), colour), f"{sign} {form.format(limit)}")
    for role, peak in detail["peak_mib"].items():
        colour = "green" if peak <= PEAK_MIB else "red"
        flat = "flat" if detail["flat_from_second"] else "growing"
        flat += f", {detail['predicted']['peak_mib'][role]:.0f} predicted"
        table.add_row(f"MiB of {role}, {flat}", styled(f"{peak:.0f}", colour), f"<= {PEAK_MIB}")
    table.add_row("rounds with nothing ahead", str(detail["rounds_unprepared"]), "")
    ratios = {
        f"predicted over measured, {name}": detail["predicted_over_measured"][kind]
        for kind, name in PREDICTIONS
    }
    ratios["predicted over measured, textbook SMP"] = detail["textbook_predicted_over_measured"]
    low, high = PREDICTED
    for name, ratio in ratios.items():
        colour = "green" if low <= ratio <= high else "red"
        table.add_row(name, styled(f"{ratio:.2f}", colour), f"{low} to {high}")
    if detail["bigint_share"] + detail["circuit_share"] > 1:
        table.caption = (
            "Big integers and circuits together pass 100 %: the calibrations ran slower than the pictures."
        )
    return table


def _seconds(bits: str, detail: Mapping[str, Any]) -> Table:
    table = _table(f"{bits} bits, seconds", "what", ("median", "least", "largest", "runs", "predicted"))
    kinds = ("latency", "sustained", "processor")
    predicted = {kind: detail["predicted"][f"{kind}_seconds"] for kind in kinds}
    names = {"d": "D, one decryption", "latency": "prepared ahead", "sustained": "nothing ahead"}
    names |= {"processor": "processor, nothing ahead", "ahead": "what was made ahead"}
    for kind, name in names.items():
        seen = detail["seconds"][kind]
        digits = 5 if kind == "d" else 2
        cells = [f"{seen[each]:.{digits}f}" for each in ("median", "least", "largest")]
        table.add_row(name, *cells, str(seen["runs"]), f"{predicted[kind]:.2f}" if kind in predicted else "")
    return table


def _functions(bits: str, detail: Mapping[str, Any]) -> Table:
    columns = ("time", "bytes", "messages", "ops", "textbook", "ratio")
    table = _table(f"{bits} bits, each function of a picture, nothing ahead", "function", columns)
    for name, each in detail["functions"].items():
        textbook = each.get("textbook_seconds", 0.0)
        table.add_row(
            name,
            time_text(each["seconds"]),
            count_text(each["bytes"]),
            str(each["messages"]),
            count_text(sum(each["operations"].values())),
            time_text(textbook) if textbook else "",
            count_text(round(textbook / each["seconds"])) if textbook else "",
        )
    smp = detail["smp"]
    textbook = f"{1e3 * smp['textbook_seconds']:.0f} ms"
    cells = (f"{1e6 * smp['seconds']:.1f} us", "", "", f"{smp['operations']:.2f}", textbook)
    table.add_row("SMP, a product", *cells, f"{smp['textbook_seconds'] / smp['seconds']:,.0f}")
    return table


def _steps(steps: Sequence[Mapping[str, Any]], link: Mapping[str, Any]) -> Table:
    """Medians; least and largest of both sides together; and the same where a link is between the clouds."""
    bandwidth = f", {link['bandwidth'] / 1e6:g} Mbit/s" if link["bandwidth"] else ""
    far = f"{1e3 * link['latency']:g} ms{bandwidth}"
    table = _table(
        f"Steps by themselves, one thread, ms; apart: over a link of {far}",
        "step",
        ("values", "ahead", "S1", "S2", "least", "largest", "bytes", "trips", "apart"),
    )
    table.box, table.padding = SIMPLE, (0, 0, 0, 0)  # ten columns in eighty characters
    for each in steps:
        times = [each[part]["median"] for part in ("ahead", "s1", "s2")]
        times += [each["seconds"][end] for end in ("least", "largest")]
        table.add_row(
            each["name"],
            f"{each['values']:,}",
            *map(_milliseconds, times),
            count_text(each["bytes"]),
            str(each["round_trips"]),
            _milliseconds(each["link_seconds"]),
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def _growth(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("pictures", "s a picture", "predicted", "bytes", "products")
    table = _table("Growth, nothing ahead, one run each", "picture", columns)
    for row in rows:
        if "error" in row:
            table.add_row("x".join(map(str, row["image_shape"])), str(row["pictures"]), "not measured")
            continue
        table.add_row(
            "x".join(str(side) for side in row["image_shape"]),
            str(row["pictures"]),
            f"{row['seconds_a_picture']:.2f}",
            f"{row['predicted_seconds'] / row['pictures']:.2f}",
            count_text(row["bytes"]),
            count_text(row["products"]),
        )
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    right = [Column(name, justify="right") for name in columns]
    return Table(first, *right, title=title, title_justify="left")
