"""What one picture costs, measured through real processes: online, what is made ahead, and a stream."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from together.bench.link import measure_link
from together.bench.networks import some_pictures
from together.bench.processes import MIB, processor_seconds, resident, watched
from together.bench.session import Query, Session, session
from together.bench.textbook import function_products
from twinveil.errors import TwinveilError
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine, measure, typical
from twinveil.estimate.query import AHEAD, ahead, estimate, online
from twinveil.estimate.seconds import USER_MESSAGES, Link, of_functions, wall
from twinveil.native import VARIABLE
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.start.process import command

ITEMS = 20
"""At least so many are made one after the other, for their mean."""
WARM_UP = 2
"""Queries before the first that counts: tables are made, connections warm."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is measured. folder: keys, models and logs, found again by the next run. link: also over it."""

    folder: Path
    model_folder: Path
    model: str
    plan: Plan
    params: Params
    repeats: int
    stream: int
    workers: int
    link: Link | None = None

    @property
    def items(self) -> int:
        """That are kept ready while single pictures are timed."""
        return ITEMS if self.params.key_bits >= 2048 else 2

    @property
    def system(self) -> dict[str, Any]:
        """As `session` takes it."""
        return {
            "folder": self.folder,
            "model_folder": self.model_folder,
            "name": self.model,
            "key_bits": self.params.key_bits,
            "workers": self.workers,
            "insecure_small_key": self.params.insecure_small_key,
        }

    def session(self, prepare: int = 0) -> AbstractContextManager[Session]:
        """The system that is measured, with so many items kept ready."""
        return session(**self.system, prepare=prepare)


@dataclass(frozen=True)
class Filled:
    """Items made with nothing else to do. By cloud, cpu: processor seconds; mib: growth of memory an item.

    mib is of the second half: the first brings what the clouds need to make them.
    """

    items: int
    seconds: float
    cpu: Mapping[str, float]
    mib: Mapping[str, float]


@dataclass(frozen=True)
class PictureRuns:
    """What was seen at one key size.

    online: with an item ready. linked: seconds of the same over the link, if there is one. stream: one after
    the other, nothing ahead; peaks: MiB by cloud meanwhile.
    product: processor seconds of one product of the textbook protocol on one thread, on gmpy2. machines:
    calibrations before, between and after.
    """

    filled: Filled
    online: Sequence[Query]
    linked: Sequence[float]
    stream: Sequence[Query]
    peaks: Sequence[Mapping[str, float]]
    product: Sequence[float]
    machines: Sequence[Machine]

    @property
    def machine(self) -> Machine:
        return typical(self.machines)


def measure_picture(wanted: Wanted, say: Say) -> PictureRuns:
    """The textbook's products; items; pictures that spend them; a stream of pictures with nothing ahead."""
    bits = wanted.params.key_bits
    say(f"{bits} bits: products of the textbook protocol")
    product = _products(wanted)
    machines = [measure(bits)]
    say(f"{bits} bits: {wanted.items} items")
    with wanted.session(prepare=wanted.items) as running:
        filled = _fill(running, wanted)
        pictures = _online(running, wanted, say)
    linked = measure_link(wanted.link, wanted.repeats, say, **wanted.system) if wanted.link else []
    machines.append(measure(bits))
    say(f"{bits} bits: one picture after the other")
    with wanted.session() as running:
        stream, peaks = _stream(running, wanted, say)
    machines.append(measure(bits))
    return PictureRuns(filled, pictures, linked, stream, peaks, product, machines)


def _fill(running: Session, wanted: Wanted) -> Filled:
    """After the first picture, for which tables are made."""
    pids = running.cluster.pids
    running.classify(some_pictures(wanted.plan, 1))
    before, start = processor_seconds(pids), time.perf_counter()
    there, memory = running.wait_ready(wanted.items // 2), _memory(pids)
    running.wait_ready(wanted.items)
    seconds = time.perf_counter() - start
    after, full = processor_seconds(pids), _memory(pids)
    cpu = {role: after[role] - before[role] for role in after}
    more = max(1, wanted.items - there)
    return Filled(wanted.items, seconds, cpu, {role: (full[role] - memory[role]) / more for role in full})


def _memory(pids: Mapping[str, int]) -> dict[str, float]:
    """MiB by cloud."""
    return {role: resident(pids[role]) / MIB for role in ("cloud_s1", "cloud_s2")}


def _online(running: Session, wanted: Wanted, say: Say) -> list[Query]:
    pictures = some_pictures(wanted.plan, WARM_UP + wanted.repeats)
    made = []
    for number, picture in enumerate(pictures):
        running.wait_ready(wanted.items)
        made.append(running.classify([picture]))
        say(f"online, picture {number + 1} of {len(pictures)}: {1e3 * made[-1].seconds:.0f} ms")
    return made[WARM_UP:]


def _stream(running: Session, wanted: Wanted, say: Say) -> tuple[list[Query], list[Mapping[str, float]]]:
    made: list[Query] = []
    peaks: list[Mapping[str, float]] = []
    with watched(running.cluster.pids) as sampled:
        for number, picture in enumerate(some_pictures(wanted.plan, wanted.stream)):
            made.append(running.classify([picture]))
            peaks.append(sampled.restart())
            say(f"stream, picture {number + 1} of {wanted.stream}: {made[-1].seconds:.2f} s")
    return made[min(WARM_UP, wanted.stream - 1) :], peaks


def _products(wanted: Wanted) -> list[float]:
    """Of a product, a figure a run; on gmpy2, as the published protocol would be written today."""
    words = command("together.bench.textbook", str(wanted.params.key_bits), str(wanted.repeats))
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", check=False, env={**os.environ, VARIABLE: "off"}
    )
    if done.returncode:
        raise TwinveilError("the textbook's products could not be measured: " + done.stderr.strip()[-200:])
    return [float(each) for each in json.loads(done.stdout)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least, largest, and how many."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "largest": max(values),
        "runs": len(values),
    }


def summarise(measured: PictureRuns, wanted: Wanted) -> dict[str, Any]:
    """The figures by the names that the bars have, and those for people."""
    filled, stream = measured.filled, measured.stream
    one = measured.online[-1]
    names = [name for name in one.figures["cloud_s1"] if name not in AHEAD]
    seconds = statistics.median(each.seconds for each in measured.online)
    product = statistics.median(measured.product)
    textbook = product * sum(function_products(wanted.plan, wanted.params).values())
    return {
        "online_s": seconds,
        "online_link_s": statistics.median(measured.linked) if measured.linked else None,
        "link": asdict(wanted.link) if wanted.link else None,
        "online_messages": int(one.sum("messages", functions=names)),
        "online_bytes": int(one.sum("bytes", functions=names)),
        "item_cpu_s": sum(filled.cpu.values()) / filled.items,
        "item_bytes": int(one.sum("bytes", functions=AHEAD)),
        "item_mib": dict(filled.mib),
        "sustained_s": statistics.median(each.seconds for each in stream),
        "textbook_ratio": textbook / seconds,
        "item_s": filled.seconds / filled.items,
        "item_messages": int(one.sum("messages", functions=AHEAD)),
        "item_cpu_by_cloud": {role: each / filled.items for role, each in filled.cpu.items()},
        "predicted_over_measured": predicted_over_measured(measured, wanted),
        "online_cpu_s": statistics.median(sum(each.cpu.values()) for each in measured.online),
        "stream_cpu_s": statistics.fmean(sum(each.cpu.values()) for each in stream),
        "peak_mib": {role: max(peak[role] for peak in measured.peaks) for role in measured.peaks[0]},
        "grows": growing(measured.peaks),
        "seconds": {
            "online": spread([each.seconds for each in measured.online]),
            "sustained": spread([each.seconds for each in stream]),
            "linked": spread(measured.linked) if measured.linked else None,
            "textbook_product": spread(measured.product),
            "textbook_picture": textbook,
        },
        "peak_mib_by_picture": measured.peaks,
        "functions": functions(measured.online),
        "operations": one.operations().as_dict(),
    }


def predicted_over_measured(measured: PictureRuns, wanted: Wanted) -> dict[str, float]:
    """The estimate's figures over those that were seen; bytes are of a conversation's first item."""
    parts = wanted.workers or measured.machine.cores
    machine = replace(measured.machine, cores=min(measured.machine.cores, parts))
    costs = estimate(wanted.plan, wanted.params)
    before, after = ahead(costs, "packed"), online(costs, "packed")
    seconds = of_functions(costs, machine)
    one, steady = measured.online[-1], statistics.median(each.seconds for each in measured.stream)
    spent = sum(measured.filled.cpu.values()) / measured.filled.items
    over_link = {}
    if wanted.link and measured.linked:
        predicted = wall(of_functions(after, machine, wanted.link)) + USER_MESSAGES * wanted.link.latency
        over_link["online, over the link"] = predicted / statistics.median(measured.linked)
    return over_link | {
        "online": wall({name: seconds[name] for name in after})
        / statistics.median(each.seconds for each in measured.online),
        "nothing ahead": wall(seconds) / steady,
        "processor time of an item": sum(seconds[name].processor for name in before) / spent,
        "bytes online": total(after).bytes / one.sum("bytes", functions=list(after)),
        "bytes of an item": total(before).bytes / one.sum("bytes", functions=AHEAD),
    }


def growing(peaks: Sequence[Mapping[str, float]], slack: float = 1.05) -> bool:
    """Whether pictures of the last quarter took notably more memory than those of the second."""
    quarter = len(peaks) // 4
    if quarter < 2:
        return False
    early, late = peaks[quarter : 2 * quarter], peaks[-quarter:]
    return any(
        statistics.median(each[role] for each in late)
        > slack * statistics.median(each[role] for each in early)
        for role in peaks[0]
    )


def functions(queries: Sequence[Query]) -> dict[str, dict[str, Any]]:
    """Means a picture of each function: seconds, processor seconds by cloud, bytes, messages, operations."""
    made: dict[str, dict[str, Any]] = {}
    for name, first in queries[0].figures["cloud_s1"].items():
        own = [each.figures["cloud_s1"][name] for each in queries]
        other = [each.figures["cloud_s2"].get(name, {}) for each in queries]
        made[name] = {
            "ahead": name in AHEAD,
            "seconds": statistics.fmean(each["seconds"] for each in own),
            "waiting_seconds": statistics.fmean(each["waiting_seconds"] for each in own),
            "s1_cpu_seconds": statistics.fmean(each["cpu_seconds"] for each in own),
            "s2_cpu_seconds": statistics.fmean(each.get("cpu_seconds", 0.0) for each in other),
            "bytes": first["bytes"],
            "messages": first["messages"],
            "operations": {
                cloud: each.get("operations", {})
                for cloud, each in (("cloud_s1", first), ("cloud_s2", other[0]))
            },
        }
    return made
