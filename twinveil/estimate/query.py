"""What a model's import and a query cost, before anything runs.

    costs = estimate(plan, Params(2048), "packed")
    costs["SMP"].bytes, costs["SMP"].s1.as_dict(), total(costs).messages

Bytes, messages and operations are exactly those that the clouds' meters show; the plan decides all of them.
"""

from __future__ import annotations

from twinveil.estimate import packed, textbook
from twinveil.estimate.cost import Cost, Costs, function
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.turns import COMMIT

AHEAD = ("ahead", "garbling", "SMP")
"""Functions of the packed engine's items, which need no picture."""


def estimate(
    plan: Plan, params: Params, engine: str = "packed", *, pictures: int = 1, label_only: bool = False
) -> Costs:
    """By function, of one query with the items that it spends, which are their conversation's first.

    Raises BadPlan or TooMuch for a network without a layout in this engine; the textbook engine's limit of
    products does not count here.
    """
    if engine == "textbook":
        return textbook.query_costs(TextbookLayout(plan, params, limit=None), label_only)
    items, costs = Layouts(plan, params, ("packed",)).packed.items, Costs()
    for number in range(pictures):
        for name, cost in packed.item_costs(items, number).items():
            function(costs, name).include(cost)
    return costs | packed.query_costs(items, range(pictures), label_only)


def import_cost(plan: Plan, params: Params, engine: str) -> Cost:
    """Of a model for one engine. Raises as `estimate` does."""
    layouts = Layouts(plan, params, (engine,))
    if engine == "textbook":
        cost = textbook.import_cost(layouts.textbook)
    else:
        cost = packed.import_cost(layouts.packed)
    cost.take(COMMIT)
    return cost


def ahead(costs: Costs, engine: str) -> Costs:
    """Of these, what needs no picture."""
    return {name: cost for name, cost in costs.items() if engine == "packed" and name in AHEAD}


def online(costs: Costs, engine: str) -> Costs:
    """Of these, what begins with the picture."""
    return {name: cost for name, cost in costs.items() if engine == "textbook" or name not in AHEAD}
