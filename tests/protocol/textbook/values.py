"""What S2 sees of a textbook query by the plan alone: the range of every value, and how many products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinveil.network.plan import Plan
from twinveil.network.schedule import schedule
from twinveil.protocol.textbook.steps import pool_windows


def textbook_values(plan: Plan) -> Iterator[tuple[int, int]]:
    """Least and largest of every value that S2 decrypts masked, in order: SACT's twice, SMAP's by window."""
    stages = schedule(plan)
    for stage in stages.stages:
        for relu in stage.relus:
            most = _largest_sum(plan, relu.source)
            yield from [(-most, most)] * (2 * int(np.prod(plan.shapes[relu.source])))
        for pool in stage.pools:
            source = stages.pieces[pool.source]
            for members in pool_windows(pool, source.shape):
                yield from [(0, (1 << source.bits) - 1)] * (members.size if len(members) > 1 else 0)
    most = _largest_sum(plan, plan.output.name)
    yield from [(-most, most)] * plan.output.out_features


def _largest_sum(plan: Plan, name: str) -> int:
    """Whatever weights, biases and inputs their circuits let through."""
    (node,) = (node for node in plan.linear_nodes if node.name == name)
    product = ((1 << plan.bits[node.source]) - 1) * (1 << (node.weight_bits - 1))
    return plan.taps(node) * product + (1 << (node.accumulator_bits - 1))


def products(plan: Plan) -> int:
    """SMP's of a textbook query: layers, x t of SACT, R MR of SMAP."""
    stages = schedule(plan)
    linear = sum(plan.products(node) for node in plan.linear_nodes)
    records = sum(int(np.prod(plan.shapes[relu.source])) for stage in stages.stages for relu in stage.relus)
    pooled = sum(
        members.size
        for stage in stages.stages
        for pool in stage.pools
        for members in pool_windows(pool, stages.pieces[pool.source].shape)
        if len(members) > 1
    )
    return linear + records + pooled
