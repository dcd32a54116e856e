"""What one picture costs, measured through real processes: latency, a stream, and where the time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from together.bench.networks import some_pictures
from together.bench.processes import MIB, watched
from together.bench.session import Query, Session, session
from together.bench.textbook import PRODUCTS, TextbookSmp, function_products, predicted_product
from twinveil.crypto.keygen import generate
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import Tally
from twinveil.estimate.machine import Machine, measure, typical
from twinveil.estimate.query import estimate
from twinveil.estimate.seconds import (
    AHEAD,
    USER_MESSAGES,
    latency,
    memory,
    of_query,
    rounds,
    sustained,
)
from twinveil.network.plan import Plan
from twinveil.params import Params

DECRYPTIONS = 16
"""Ciphertexts of one batch: the batch's own check is spread over them."""
WARM_UP = 2
"""Queries before the first that counts: tables are made, workers started."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is measured. folder: keys, models and logs, found again by the next run."""

    folder: Path
    model_folder: Path
    model: str
    plan: Plan
    params: Params
    repeats: int
    stream: int
    workers: int

    def session(self, prepare: int = 0) -> AbstractContextManager[Session]:
        """The system that is measured, with so many queries kept prepared."""
        return session(
            self.folder,
            self.model_folder,
            self.model,
            self.params.key_bits,
            prepare=prepare,
            workers=self.workers,
            insecure_small_key=self.params.insecure_small_key,
        )


@dataclass
class PictureRuns:
    """What was seen at one key size. prepared_peak, peaks: MiB by cloud, of the prepared pictures together
    and of each picture of the stream. machines: calibrations before, between and after. product: processor
    seconds of one product of the textbook protocol on one thread."""

    prepared: Sequence[Query]
    prepared_peak: Mapping[str, float]
    stream: Sequence[Query]
    peaks: Sequence[Mapping[str, float]]
    decryption: Sequence[float]
    machines: Sequence[Machine]
    product: Sequence[float]

    @property
    def machine(self) -> Machine:
        return typical(self.machines)


def measure_picture(wanted: Wanted, say: Say) -> PictureRuns:
    """The textbook's products; latency with all made ahead; a stream with nothing ahead; calibrated before,
    between and after."""
    key = generate(wanted.params)
    say(f"{wanted.params.key_bits} bits: {PRODUCTS} products of the textbook protocol")
    product = _products(key, wanted)
    d: list[float] = []
    machines: list[Machine] = []

    def calibrate() -> None:
        say(f"{wanted.params.key_bits} bits: calibrating")
        d.extend(decryption_seconds(key))
        machines.append(measure(wanted.params.key_bits))

    calibrate()
    say(f"{wanted.params.key_bits} bits: prepared queries")
    with wanted.session(prepare=1) as running, watched(running.cluster.pids) as sampled:
        prepared = _prepared(running, wanted, say)
        prepared_peak = sampled.restart()
    calibrate()
    say(f"{wanted.params.key_bits} bits: one picture after the other")
    with wanted.session() as running:
        stream, peaks = _stream(running, wanted, say)
    calibrate()
    return PictureRuns(prepared, prepared_peak, stream, peaks, d, machines, product)


def _prepared(running: Session, wanted: Wanted, say: Say) -> list[Query]:
    pictures = some_pictures(wanted.plan, WARM_UP + wanted.repeats)
    made = []
    for number, picture in enumerate(pictures):
        if number:
            running.wait_prepared()
        made.append(running.classify([picture]))
        say(f"prepared, picture {number + 1} of {len(pictures)}: {made[-1].seconds:.2f} s")
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


def _products(key: SecretKey, wanted: Wanted) -> list[float]:
    """Of a product: a figure for each run of PRODUCTS, after one that makes the table of nonces."""
    smp = TextbookSmp(key, wanted.params)
    return [smp.run(PRODUCTS).seconds / PRODUCTS for _ in range(1 + wanted.repeats)][1:]


def decryption_seconds(key: SecretKey, batches: int = 9) -> list[float]:
    """Seconds of one CRT decryption on one thread, one figure a batch."""
    values = key.public_key.parse(
        Encryptor(key.public_key, Tally()).encrypt(range(DECRYPTIONS)).to_bytes(), DECRYPTIONS
    )
    return [_wall(lambda: key.decrypt(values)) / DECRYPTIONS for _ in range(batches)]


def _wall(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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
    machine, prepared, stream = measured.machine, measured.prepared, measured.stream
    bits = wanted.params.key_bits
    d = statistics.median(measured.decryption)
    online = statistics.median(each.seconds for each in prepared)
    steady = statistics.median(each.seconds for each in stream)
    cpu = sum(sum(each.cpu.values()) for each in stream)
    wall = sum(each.seconds for each in stream)
    shares = [sum(each.operations().seconds(one.costs) for each in stream) / cpu for one in measured.machines]
    circuits = sum(circuit_seconds(each) for each in stream)
    product = statistics.median(measured.product)
    textbook = product * sum(function_products(wanted.plan, wanted.params).values())
    parts = wanted.workers or machine.cores
    costs = estimate(wanted.plan, wanted.params, workers=parts)
    predicted = of_query(costs, replace(machine, cores=min(machine.cores, parts)))
    processor = sum(each.processor for each in predicted.values())
    peak = memory(costs, wanted.plan, bits, "packed", parts)
    peaks = [measured.prepared_peak, *measured.peaks]
    one = prepared[-1]
    return {
        "d_seconds": d,
        "latency_d": online / d,
        "sustained_d": steady / d,
        "textbook_ratio": textbook / online,
        "bigint_share": sum(each.operations().seconds(machine.costs) for each in stream) / cpu,
        "cpu_over_wall": cpu / wall,
        "circuit_share": circuits / cpu,
        "garble_ns": machine.garble * 1e9,
        "evaluate_ns": machine.evaluate * 1e9,
        "peak_mib": {role: max(peak[role] for peak in peaks) for role in peaks[0]},
        "bytes": int(one.sum("bytes")),
        "rounds": rounds_of(one),
        "rounds_unprepared": rounds_of(stream[-1], ahead=()),
        "predicted_over_measured": {
            "latency": latency(predicted) / online,
            "sustained": sustained(predicted) / steady,
            "processor": processor / (cpu / len(stream)),
        },
        "textbook_predicted_over_measured": predicted_product(wanted.params, machine.costs) / product,
        "predicted": {
            "bytes": sum(cost.bytes for cost in costs.values()),
            "rounds": rounds(costs),
            "rounds_unprepared": rounds(costs) + sum(costs[name].messages for name in AHEAD),
            "latency_seconds": latency(predicted),
            "sustained_seconds": sustained(predicted),
            "processor_seconds": processor,
            "peak_mib": {role: size / MIB for role, size in peak.items()},
        },
        "seconds": {
            "latency": spread([each.seconds for each in prepared]),
            "sustained": spread([each.seconds for each in stream]),
            "ahead": spread([each.sum("seconds", functions=AHEAD) for each in prepared]),
            "d": spread(measured.decryption),
            "processor": spread([sum(each.cpu.values()) for each in stream]),
            "textbook_product": spread(measured.product),
            "textbook_picture": textbook,
        },
        "peak_mib_by_picture": measured.peaks,
        "flat_from_second": is_flat(measured.peaks),
        "functions": functions(stream, machine.costs),
        "operations": one.operations().as_dict(),
        "calibrated_seconds": calibrations(measured.machines),
        "bigint_share_by_calibration": spread(shares),
    }


def calibrations(machines: Sequence[Machine]) -> dict[str, dict[str, float]]:
    """Each calibrated figure over the calibrations: of an operation by kind, of an AND, of a transfer."""
    made = {kind: spread([each.costs[kind] for each in machines]) for kind in machines[0].costs}
    others = ("garble", "evaluate", "prepare", "transfer")
    return made | {name: spread([getattr(each, name) for each in machines]) for name in others}


CIRCUITS = ("garbling", "import", "SACT", "SACT+SMAP", "label")
"""Functions that are garbling, oblivious transfer and evaluation; of the import everything is counted."""


def circuit_seconds(query: Query) -> float:
    """Processor seconds in circuits at both clouds, with what is packed and unpacked around them."""
    return sum(query.sum("cpu_seconds", cloud, CIRCUITS) for cloud in query.figures)


def rounds_of(query: Query, ahead: Sequence[str] = AHEAD) -> int:
    """Longest chain of dependent messages: the user's request, the clouds' but those `ahead`, the answer."""
    online = [name for name in query.figures["cloud_s1"] if name not in ahead]
    return USER_MESSAGES + int(query.sum("messages", functions=online))


def is_flat(peaks: Sequence[Mapping[str, float]], slack: float = 1.05) -> bool:
    """Whether no picture after the second took notably more memory than the second."""
    if len(peaks) < 3:
        return True
    return all(peak[role] <= slack * peaks[1][role] for peak in peaks[2:] for role in peak)


def functions(queries: Sequence[Query], costs: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Means a picture of each function: seconds, bytes, messages, operations.

    s1_integers, s2_integers: operations at their calibrated cost, wherever they ran. rest: processor time of
    both clouds' own processes beyond that; S2's integers run in its own process, S1's in its workers.
    """
    made: dict[str, dict[str, Any]] = {}
    for name, first in queries[0].figures["cloud_s1"].items():
        own = [each.figures["cloud_s1"][name] for each in queries]
        other = [each.figures["cloud_s2"].get(name, {}) for each in queries]
        tallies = Tally(first["operations"]), Tally(other[0].get("operations", {}))
        integers = [tally.seconds(costs) for tally in tallies]
        own_cpu = statistics.fmean(each["cpu_seconds"] for each in own)
        other_cpu = statistics.fmean(each.get("cpu_seconds", 0.0) for each in other)
        made[name] = {
            "seconds": statistics.fmean(each["seconds"] for each in own),
            "s1_integers": integers[0],
            "s2_integers": integers[1],
            "rest": own_cpu + max(0.0, other_cpu - integers[1]),
            "s1_cpu_seconds": own_cpu,
            "s2_cpu_seconds": other_cpu,
            "waiting_seconds": statistics.fmean(each["waiting_seconds"] for each in own),
            "bytes": first["bytes"],
            "messages": first["messages"],
            "operations": (tallies[0] + tallies[1]).as_dict(),
        }
    return made
