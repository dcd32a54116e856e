"""The bench's figures by the bars' names, and its tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from twinveil.cli.terminal import styled
from twinveil.estimate.seconds import Link
from twinveil.wording import count_text, time_text

NAMES = (
    "online_s",
    "online_link_s",
    "online_messages",
    "online_bytes",
    "item_cpu_s",
    "item_bytes",
    "item_mib",
    "sustained_s",
    "textbook_ratio",
    "native_decrypt",
    "native_half",
    "native_threads",
    "predicted_over_measured",
)
BARS: Mapping[str, tuple[str, str]] = {
    "online_s": ("one picture, an item ready, s", "{:.3f}"),
    "online_link_s": ("the same over the link, s", "{:.3f}"),
    "online_messages": ("messages between the clouds, online", "{}"),
    "online_bytes": ("bytes between the clouds, online", "{:,}"),
    "item_cpu_s": ("processor time of an item, both clouds, s", "{:.2f}"),
    "item_bytes": ("bytes between the clouds, an item", "{:,}"),
    "sustained_s": ("one picture after the other, nothing ahead, s", "{:.2f}"),
    "textbook_ratio": ("times faster than the textbook, on gmpy2", "{:,.0f}"),
}
LIMITS: Mapping[str, Mapping[str, float]] = {
    "ifma": {"item_cpu_s": 1.0, "item_cpu_s_3072": 1.4, "sustained_s": 0.7, "sustained_s_3072": 1.0},
    "avx2": {"item_cpu_s": 1.8},
    "gmpy2": {"item_cpu_s": 4.0, "item_cpu_s_3072": 7.5, "sustained_s": 2.6},
    "any": {
        "online_s": 0.10,
        "online_link_s": 1.0,
        "online_messages": 22,
        "online_bytes": 4_000_000,
        "item_bytes": 22_000_000,
        "textbook_ratio": 100_000,
    },
}
"""What is wanted of the default network, by level of arithmetic; what has _3072 is for that key alone."""
LIMITS_LINK = Link(latency=0.02, bandwidth=100e6)
"""Of `online_link_s`: at another one nothing is wanted of it."""
AT_LEAST = ("textbook_ratio",)
ITEM_MIB = {"cloud_s1": 4, "cloud_s2": 25}


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
        made += [
            _bars(bits, detail, figures["native_level"]),
            _seconds(bits, detail),
            _functions(bits, detail),
        ]
    made.append(_steps(figures["steps"], figures["link"]))
    if figures.get("growth"):
        made.append(_growth(figures["growth"]))
    return made


def of_hosts(figures: Mapping[str, Any]) -> Table:
    """What was measured from a kit."""
    table = _table("One picture a query, clouds on their own hosts", "what", ("median", "least", "largest"))
    for key, name in (("online_s", "from call to answer, s"), ("waiting_s", "of it, S1 waiting for S2, s")):
        seen = figures[key]
        table.add_row(name, *(f"{seen[each]:.3f}" for each in ("median", "least", "largest")))
    runs = figures["online_s"]["runs"]
    table.add_row(f"pictures of {runs} that found an item ready", str(figures["ready"]), "", "")
    table.add_row("messages between the clouds, online", str(figures["online_messages"]), "", "")
    table.add_row("round trips", str(figures["round_trips"]), "", "")
    table.add_row("bytes between the clouds, online", f"{figures['online_bytes']:,}", "", "")
    table.add_row("bytes between the clouds, an item", f"{figures['item_bytes']:,}", "", "")
    return table


def _limit(name: str, bits: str, level: str) -> float | None:
    wanted = LIMITS.get(level, {})
    if bits != "2048" and name in wanted:
        return wanted.get(f"{name}_{bits}")
    return wanted.get(name, LIMITS["any"].get(name))


def _bars(bits: str, detail: Mapping[str, Any], level: str) -> Table:
    table = _table(f"{bits} bits, arithmetic {level}", "what", ("seen", "wanted"))
    for key, (name, form) in BARS.items():
        if detail[key] is None:
            continue
        limit = _limit(key, bits, level)
        if key == "online_link_s" and detail["link"] != asdict(LIMITS_LINK):
            limit = None
        seen = form.format(detail[key])
        if limit is None:
            table.add_row(name, seen, "")
            continue
        least = key in AT_LEAST
        met = detail[key] >= limit if least else detail[key] <= limit
        wanted = form.format(limit if isinstance(detail[key], float) else int(limit))
        table.add_row(name, styled(seen, "green" if met else "red"), f"{'>=' if least else '<='} {wanted}")
    for role, size in detail["item_mib"].items():
        colour = "green" if size <= ITEM_MIB[role] else "red"
        table.add_row(f"MiB of an item at {role}", styled(f"{size:.1f}", colour), f"<= {ITEM_MIB[role]}")
    for role, peak in detail["peak_mib"].items():
        table.add_row(f"MiB of {role}, {'growing' if detail['grows'] else 'flat'}", f"{peak:.0f}", "")
    for name, ratio in detail["predicted_over_measured"].items():
        table.add_row(f"predicted over measured, {name}", f"{ratio:.2f}", "")
    for name, ratio in (("decryption", "native_decrypt"), ("table step", "native_half")):
        if detail[ratio]:
            shown = ", ".join(f"{each} {value:.1f}" for each, value in detail[ratio].items() if value)
            table.add_row(f"times gmpy2's speed, {name}", shown, "")
    return table


def _seconds(bits: str, detail: Mapping[str, Any]) -> Table:
    table = _table(f"{bits} bits, seconds", "what", ("median", "least", "largest", "runs"))
    names = {"online": "a picture, an item ready", "linked": "over the link", "sustained": "nothing ahead"}
    for kind, name in names.items():
        seen = detail["seconds"][kind]
        if seen is None:
            continue
        cells = [f"{seen[each]:.3f}" for each in ("median", "least", "largest")]
        table.add_row(name, *cells, str(seen["runs"]))
    return table


def _functions(bits: str, detail: Mapping[str, Any]) -> Table:
    """Processor time of both clouds; what is ahead first."""
    columns = ("when", "S1", "S2", "bytes", "messages", "ops", "textbook", "ratio")
    table = _table(f"{bits} bits, each function of a picture, processor ms", "function", columns)
    for name, each in sorted(detail["functions"].items(), key=lambda item: not item[1]["ahead"]):
        textbook = each.get("textbook_seconds", 0.0)
        spent = each["s1_cpu_seconds"] + each["s2_cpu_seconds"]
        operations = sum(sum(kinds.values()) for kinds in each["operations"].values())
        table.add_row(
            name,
            "ahead" if each["ahead"] else "online",
            _milliseconds(each["s1_cpu_seconds"]),
            _milliseconds(each["s2_cpu_seconds"]),
            count_text(each["bytes"]),
            str(each["messages"]),
            count_text(operations),
            time_text(textbook) if textbook else "",
            count_text(round(textbook / spent)) if textbook and spent else "",
        )
    smp = detail["smp"]
    textbook = f"{1e3 * smp['textbook_seconds']:.0f} ms"
    cells = (f"{1e6 * smp['seconds']:.2f} us", "", "", "", f"{smp['operations']:.2f}", textbook)
    table.add_row(
        "SMP, a product", "ahead", *cells, count_text(round(smp["textbook_seconds"] / smp["seconds"]))
    )
    return table


def _steps(steps: Sequence[Mapping[str, Any]], link: Mapping[str, Any]) -> Table:
    """Medians; and the same where a link is between the clouds."""
    bandwidth = f", {link['bandwidth'] / 1e6:g} Mbit/s" if link["bandwidth"] else ""
    far = f"{1e3 * link['latency']:g} ms{bandwidth}"
    table = _table(
        f"Functions alone, ms; apart: over a link of {far}",
        "function",
        ("engine", "values", "ahead", "bytes", "S1", "S2", "bytes", "trips", "apart"),
    )
    table.box, table.padding = SIMPLE, (0, 0, 0, 0)  # ten columns in eighty characters
    for each in steps:
        ahead, online = each["ahead"], each["online"]
        table.add_row(
            each["name"],
            each["engine"],
            f"{each['values']:,}",
            _milliseconds(ahead["s1"]["median"] + ahead["s2"]["median"]),
            count_text(ahead["bytes"]),
            _milliseconds(online["s1"]["median"]),
            _milliseconds(online["s2"]["median"]),
            count_text(online["bytes"]),
            str(online["round_trips"]),
            _milliseconds(each["link_seconds"]),
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def _growth(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("pictures", "online s a picture", "item s", "bytes", "products")
    table = _table("Growth", "picture", columns)
    for row in rows:
        if "error" in row:
            table.add_row("x".join(map(str, row["image_shape"])), str(row["pictures"]), "not measured")
            continue
        table.add_row(
            "x".join(str(side) for side in row["image_shape"]),
            str(row["pictures"]),
            f"{row['online_seconds_a_picture']:.3f}",
            f"{row['item_seconds']:.2f}",
            count_text(row["bytes"]),
            count_text(row["products"]),
        )
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    right = [Column(name, justify="right") for name in columns]
    return Table(first, *right, title=title, title_justify="left")
