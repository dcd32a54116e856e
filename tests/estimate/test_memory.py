"""Memory that follows from a plan is about what processes take; what is loaded late is allowed for."""

from __future__ import annotations

import pytest

from tests.crypto.crypto_keys import toy
from tests.estimate.two_processes import items_growth, query_growth
from tests.protocol.packed.default import default_plan
from twinveil.estimate.memory import memory
from twinveil.network.plan import IMAGE, Conv, Dense, MaxPool, Plan, Relu

pytestmark = pytest.mark.slow

ITEMS = 16
LATE = 12 << 20


def small(*nodes: Conv | Relu | MaxPool | Dense) -> Plan:
    return Plan((1, 14, 14), 8, nodes, 0)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(small(Dense("dense", IMAGE, 40, 8, 22)), marks=pytest.mark.heavy),
        small(
            Conv("conv", IMAGE, 4, (3, 3), 1, 0, 8, 20),
            Relu("relu", "conv", 5, 8),
            MaxPool("pool", "relu", 3, 3, 0),
            Dense("dense", "pool", 3, 8, 22),
        ),
    ],
    ids=["products", "circuits"],
)
def test_a_textbook_query(plan: Plan) -> None:
    forecast = memory(plan, toy(1024), "textbook")
    for role, measured in query_growth(plan, 1024).items():
        late = LATE if role == "cloud_s2" else 4 << 20
        assert forecast[role].query < 1.5 * measured, role
        assert measured < 1.5 * forecast[role].query + late, role


def test_items_of_the_default_network() -> None:
    forecast = memory(default_plan(), toy(512), "packed")
    for role, measured in items_growth(default_plan(), 512, ITEMS).items():
        assert measured / 1.2 < ITEMS * forecast[role].item < 1.2 * measured, role


def test_each_process_that_computes_has_its_tables() -> None:
    one, three = (memory(default_plan(), toy(2048), "packed", processes=count) for count in (1, 3))
    for role in one:
        assert three[role].nonces == 3 * one[role].nonces
        assert three[role].tables == 3 * one[role].tables
        assert three[role].peak > one[role].peak
