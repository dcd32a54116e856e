"""Seconds and memory that follow from a cost: what workers share, what one core does, what stays live."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.crypto import crypto_keys
from tests.estimate.two_processes import growth
from tests.networks import small_icnn_model
from tests.protocol.test_engines import images, small_random
from twinveil.crypto import nonces, secret_key
from twinveil.crypto.multiexp_fixed import _run_fixed
from twinveil.crypto.tally import KINDS, POWER_P2, Tally
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine
from twinveil.estimate.query import estimate
from twinveil.estimate.seconds import of_query, query_memory
from twinveil.network.plan import IMAGE, Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.rehearsal.clouds import Clouds

pytestmark = pytest.mark.slow

MACHINE = Machine(
    cores=2,
    costs=dict.fromkeys(KINDS, 1e-3),
    garble=1e-7,
    evaluate=1e-7,
    prepare=1e-7,
    transfer=1e-7,
    base=1e-2,
    byte=1e-9,
)


class Spy(Workers):
    """Two workers in this process; tally: what they were handed."""

    def __init__(self) -> None:
        super().__init__(ThreadPoolExecutor(1), count=2)
        self.tally = Tally()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        items = list(items)
        results = [function(item) for item in items]
        for item, result in zip(items, results, strict=True):
            if function is _run_fixed:
                _, schedule, parcel = item
                bases = len(parcel.bases) // len(parcel.modulus)
                self.tally += schedule.power_counts(bases, parcel.outputs, parcel.bits)
            elif function is nonces._draw_in_worker:
                key, reach, count, more = item
                self.tally += nonces.nonce_counts(key.bits, reach, count, more)
            else:
                self.tally += result[1]
        return results


@pytest.mark.parametrize(
    ("engine", "model", "pictures"),
    [
        ("packed", small_icnn_model(3), 1),
        ("packed", small_random(0), 3),
        ("textbook", small_random(0), 1),
        ("textbook", small_random(4), 1),
    ],
)
def test_what_workers_share(
    monkeypatch: pytest.MonkeyPatch, engine: str, model: QuantisedModel, pictures: int
) -> None:
    s1, s2, powers, own = Spy(), Spy(), secret_key.powers, crypto_keys.secret_key(512)

    def watched(works: Any, bits: int) -> Any:
        for numbers, _ in works:
            shared = numbers.modulus.many.threads > 1 and len(numbers) > 1
            s2.tally.add(POWER_P2, len(numbers) if shared else 0)
        return powers(works, bits)

    clouds = Clouds(model, own, (engine,), s1, s2)
    monkeypatch.setattr(secret_key, "powers", watched)
    clouds.classify(images(model, pictures, 0), engine)
    whole = total(estimate(model.plan, clouds.params, engine, pictures=pictures, workers=2))
    assert (s1.tally, s2.tally) == (whole.s1_shared, whole.s2_shared)


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_more_cores_do_not_help_what_one_core_does(engine: str) -> None:
    plan = small_icnn_model(3).plan
    costs = estimate(plan, Params(2048), engine)
    for cores in (1, 2, 1000):
        seconds = of_query(costs, replace(MACHINE, cores=cores))
        for name, cost in costs.items():
            integers = cost.s1.seconds(MACHINE.costs) + cost.s2.seconds(MACHINE.costs)
            shared = cost.s1_shared.seconds(MACHINE.costs) + cost.s2_shared.seconds(MACHINE.costs)
            assert seconds[name].wall >= integers - shared + shared / cores
            assert seconds[name].integers == pytest.approx(integers)


def test_s1_of_the_textbook_works_alone() -> None:
    costs = estimate(small_icnn_model(3).plan, Params(2048), "textbook")
    seconds = of_query(costs, replace(MACHINE, cores=1000))
    for name in ("SCVL", "SACT", "SMAP", "SCT"):
        assert seconds[name].wall >= costs[name].s1.seconds(MACHINE.costs) > 0


def small(*nodes: Conv | Relu | MaxPool | Dense) -> Plan:
    return Plan((1, 14, 14), 8, nodes, 0)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(small(Dense("dense", IMAGE, 72, 8, 22)), marks=pytest.mark.heavy),
        small(
            Conv("conv", IMAGE, 6, (3, 3), 1, 0, 8, 20),
            Relu("relu", "conv", 5, 8),
            MaxPool("pool", "relu", 3, 3, 0),
            Dense("dense", "pool", 3, 8, 22),
        ),
    ],
    ids=["products", "circuits"],
)
def test_memory_of_a_textbook_query(plan: Plan) -> None:
    """Measured in a process of each cloud's own; what is loaded late is allowed for."""
    params = Params(1024, insecure_small_key=True)
    forecast = query_memory(estimate(plan, params, "textbook"), plan, params.key_bits, "textbook")
    for role, measured in growth(plan, params.key_bits).items():
        assert forecast[role] < 1.5 * measured, role
        assert measured < 1.5 * forecast[role] + (4 << 20), role
