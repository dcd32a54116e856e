"""Seconds that follow from a cost: what workers share, what one core does, what the link takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.networks import small_icnn_model
from twinveil.crypto.tally import KINDS
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine
from twinveil.estimate.query import ahead, estimate, online
from twinveil.estimate.seconds import USER_MESSAGES, Link, of_function, of_functions, pace, rounds, wall
from twinveil.params import Params

MACHINE = Machine(
    cores=2,
    costs=dict.fromkeys(KINDS, 1e-3),
    garble=1e-7,
    evaluate=1e-7,
    prepare=1e-7,
    transfer=1e-7,
    base=1e-2,
    product=1e-9,
    byte=1e-9,
)
PLAN = small_icnn_model(3).plan


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_more_cores_do_not_help_what_one_core_does(engine: str) -> None:
    costs = estimate(PLAN, Params(2048), engine)
    for cores in (1, 2, 1000):
        seconds = of_functions(costs, replace(MACHINE, cores=cores))
        for name, cost in costs.items():
            integers = cost.s1.seconds(MACHINE.costs) + cost.s2.seconds(MACHINE.costs)
            shared = cost.s1_shared.seconds(MACHINE.costs) + cost.s2_shared.seconds(MACHINE.costs)
            assert seconds[name].wall >= integers - shared + shared / cores
            assert seconds[name].integers == pytest.approx(integers)


def test_s1_of_the_textbook_works_alone() -> None:
    costs = estimate(PLAN, Params(2048), "textbook")
    seconds = of_functions(costs, replace(MACHINE, cores=1000))
    for name in ("SCVL", "SACT", "SCT"):
        assert seconds[name].wall >= costs[name].s1.seconds(MACHINE.costs) > 0


def test_a_picture_of_the_packed_engine_takes_no_big_integer() -> None:
    costs = online(estimate(PLAN, Params(2048), label_only=True), "packed")
    assert total(costs).s1.total == total(costs).s2.total == 0
    assert set(ahead(costs, "packed")) == set()


def test_base_transfers_are_paid_for_once() -> None:
    costs = estimate(PLAN, Params(2048), "textbook")
    garbling = of_function(costs["garbling"], MACHINE).circuits
    free = of_function(costs["garbling"], replace(MACHINE, base=0.0)).circuits
    assert garbling - free == pytest.approx(MACHINE.base)


def test_a_link_takes_latency_a_message_and_bytes_over_bandwidth() -> None:
    cost = total(online(estimate(PLAN, Params(2048)), "packed"))
    here, there = (of_function(cost, MACHINE, link).wall for link in (Link(), Link(0.02, 1e6)))
    assert there - here == pytest.approx(0.02 * cost.messages + 8 * cost.bytes / 1e6)


def test_items_come_as_fast_as_the_link_or_the_cores() -> None:
    costs = ahead(estimate(PLAN, Params(2048)), "packed")
    alone = of_functions(costs, MACHINE)
    work = sum(each.processor for each in alone.values())
    assert pace(costs, MACHINE) == pytest.approx(work / 2)
    assert pace(costs, MACHINE) < wall(alone)
    assert pace(costs, MACHINE, Link(1.0)) == pace(costs, MACHINE)
    slow, sent = pace(costs, MACHINE, Link(0.0, 1e3)), total(costs).sent
    assert slow == pytest.approx(8 * sent / 1e3)
    assert slow > work


def test_rounds_are_those_of_the_picture_and_the_users() -> None:
    costs = estimate(PLAN, Params(2048))
    after = online(costs, "packed")
    assert rounds(after) == USER_MESSAGES + total(after).messages
    assert total(after).messages < total(costs).messages
