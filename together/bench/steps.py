"""Each published function by itself, in both engines: processor seconds of each side, bytes and round trips.

A small network has the function as the one that counts; both clouds run in this thread, over memory. What a
link adds is its latency for each round trip and bytes over its bandwidth; `StepRuns.on` says how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from together.bench.networks import any_model, some_pictures
from together.bench.picture import spread
from together.bench.textbook import TextbookSmp
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TwinveilError
from twinveil.estimate.query import AHEAD
from twinveil.estimate.seconds import Link
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Conv, Dense, MaxPool, Node, Plan, Relu
from twinveil.params import Params
from twinveil.rehearsal.clouds import Answered, Clouds

BITS = 20
"""Of accumulators."""
CHANNELS = 8
TEXTBOOK_PRODUCTS = (1, 20, 140)
"""The last are more than one message of the textbook's SMP holds."""
TEXTBOOK_SIDE = 4
"""Of the textbook engine's pictures: its functions take a ciphertext a value."""
SIDES = (7, 14, 28)
WINDOW = 14
"""The largest of a pool here: a plan's have at most 15."""


@dataclass(frozen=True)
class Side:
    """Of one engine's function on a picture, before it and at it. cpu: seconds by cloud."""

    cpu: Mapping[str, float]
    bytes: int
    round_trips: int


@dataclass(frozen=True)
class StepRuns:
    """A function at one size. values: products of SMP, SCVL and SCT, values of SACT and SMAP."""

    name: str
    engine: str
    values: int
    ahead: Sequence[Side]
    online: Sequence[Side]

    def on(self, link: Link) -> float:
        """Median seconds from both sides' inputs to the result where the clouds are that far apart."""
        first = self.online[0]
        seconds: float = spread([sum(each.cpu.values()) for each in self.online])["median"]
        return seconds + link.seconds(2 * first.round_trips, first.bytes)

    def as_dict(self, link: Link) -> dict[str, Any]:
        """JSON-ready; bytes and round trips are the same in every run."""
        made: dict[str, Any] = {"name": self.name, "engine": self.engine, "values": self.values}
        for when, sides in (("ahead", self.ahead), ("online", self.online)):
            made[when] = {
                "s1": spread([each.cpu["cloud_s1"] for each in sides]),
                "s2": spread([each.cpu["cloud_s2"] for each in sides]),
                "bytes": sides[0].bytes,
                "round_trips": sides[0].round_trips,
            }
        return made | {"link_seconds": self.on(link)}


def all_steps(key: SecretKey, params: Params, repeats: int, quick: bool = False) -> Iterator[StepRuns]:
    """Every function in both engines, each `repeats` times after once that does not count."""
    for products in TEXTBOOK_PRODUCTS[-1:] if quick else TEXTBOOK_PRODUCTS:
        yield _smp(key, params, products, repeats)
    for side in (TEXTBOOK_SIDE,) if quick else (TEXTBOOK_SIDE, *SIDES):
        engines = ("packed", "textbook") if side == TEXTBOOK_SIDE else ("packed",)
        for name in ("SCVL", "SACT", "SMAP", "SCT"):
            plan = network(name, side, 1 if side == TEXTBOOK_SIDE else CHANNELS)
            clouds = Clouds(any_model(plan), key, engines)
            for engine in engines:
                yield _function(clouds, name, engine, repeats)


def network(name: str, side: int, channels: int) -> Plan:
    """A network in which the function of this name works on channels x side x side values, and little else.

    SMAP stands on the picture itself, and so by itself: elsewhere it is one circuit with its SACT.
    """
    dense = Dense("dense", "pool", 2, 8, BITS)
    window = min(side, WINDOW)
    pool = MaxPool("pool", "relu" if name in ("SCVL", "SACT") else IMAGE, window, window, 0)
    relu = Relu("relu", "conv", 0, 8)
    nodes: dict[str, tuple[Node, ...]] = {
        "SCVL": (Conv("conv", IMAGE, channels, (3, 3), 1, 1, 8, BITS), relu, pool, dense),
        "SACT": (Conv("conv", IMAGE, channels, (1, 1), 1, 0, 8, BITS), relu, pool, dense),
        "SMAP": (pool, dense),
        "SCT": (Dense("dense", IMAGE, 10, 8, BITS),),
    }
    return Plan((channels, side, side), 8, nodes[name], 0)


def _smp(key: SecretKey, params: Params, products: int, repeats: int) -> StepRuns:
    smp = TextbookSmp(key, params)
    runs = [smp.run(products) for _ in range(1 + repeats)][1:]
    online = [
        Side({"cloud_s1": run.s1, "cloud_s2": run.s2}, run.traffic.bytes, run.traffic.round_trips)
        for run in runs
    ]
    nothing = Side({"cloud_s1": 0.0, "cloud_s2": 0.0}, 0, 0)
    return StepRuns("SMP", "textbook", products, [nothing] * len(runs), online)


def _function(clouds: Clouds, name: str, engine: str, repeats: int) -> StepRuns:
    plan, model = clouds.model.plan, clouds.model
    ahead, online = [], []
    for picture in some_pictures(plan, 1 + repeats):
        answered = clouds.classify(picture[np.newaxis], engine)
        if (answered.values[0] != oracle.run(model, picture)).any():
            raise TwinveilError(f"{name} of the {engine} engine gave a wrong value")
        ahead.append(_side(answered, AHEAD if engine == "packed" else ()))
        online.append(_side(answered, _names(name, engine)))
    return StepRuns(name, engine, _values(plan, name), ahead[1:], online[1:])


def _names(name: str, engine: str) -> tuple[str, ...]:
    """Under which the clouds book it. On the picture, the packed engine's SMAP is the picture's circuit."""
    if name == "SMAP":
        return ("picture",) if engine == "packed" else ("SMAP",)
    return ("SACT", "SACT+SMAP") if name == "SACT" else (name,)


def _values(plan: Plan, name: str) -> int:
    if name in ("SCVL", "SCT"):
        return plan.products(plan.linear_nodes[0])
    return int(np.prod(plan.image_shape))


def _side(answered: Answered, names: Sequence[str]) -> Side:
    """S2 works while S1 waits, in the same thread: S1's own is what is not waiting."""
    figures = answered.meter_s1.as_dict()
    found = [figures[name] for name in names if name in figures]
    s2 = sum(float(each["cpu_seconds"]) for each in _named(answered.meter_s2.as_dict(), names))
    both = sum(float(each["cpu_seconds"]) for each in found)
    own = both - (s2 if any(each["messages"] for each in found) else 0.0)
    messages = sum(int(each["messages"]) for each in found)
    return Side({"cloud_s1": own, "cloud_s2": s2}, sum(int(each["bytes"]) for each in found), messages // 2)


def _named(figures: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [figures[name] for name in names if name in figures]
