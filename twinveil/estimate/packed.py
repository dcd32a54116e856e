"""The packed engine's cost: a model's import, an item made ahead, a query that spends items."""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.crypto.nonces import nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N2, POWER_N2
from twinveil.estimate.cost import Cost, Costs, booked, function
from twinveil.garbling.ahead import Circuit
from twinveil.halves.blinding import COUNT_BITS
from twinveil.protocol.packed.cost import operations_s1, operations_s2
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group
from twinveil.protocol.packed.turns import import_turns, item_turns, query_turns


def import_cost(layout: ModelLayout) -> Cost:
    """Of a model, without the commitment."""
    cost, bits = booked(import_turns(layout))["import"], layout.key_bits
    sheets = {node.name: layout.sheet(node) for node in layout.plan.linear_nodes}
    plaintexts = [len(sheet.outputs) for sheet in sheets.values()]
    whole = sum(plaintexts)
    cost.encrypt(bits, whole, MORE_TOWARDS_S1)
    cost.at_s1(PublicKey.check_counts(whole))
    cost.at_s1({POWER_N2: whole})
    cost.at_s1(PublicKey.add_plain_counts(whole))
    cost.at_s1(nonce_counts(bits, "full", whole, COUNT_BITS))
    cost.at_s1({MODMUL_N2: whole})
    for name, count in zip(sheets, plaintexts, strict=True):
        cost.decrypt(count)
        kernel = layout.item.layers[name].kernel
        cost.encrypt(bits, kernel.chunks * kernel.bases, MORE_TOWARDS_S1)
        cost.s1 += PublicKey.check_counts(kernel.chunks * kernel.bases)
    cost.prepared = cost.transfers = sum(sheet.transfers for sheet in sheets.values())
    cost.bases = 1
    return cost


def item_costs(items: ItemPlan, number: int = 0) -> Costs:
    """Of one item. number: its own in its conversation."""
    costs, layout = booked(item_turns(items, number)), items.layout
    garbling, products = function(costs, "garbling"), function(costs, "SMP")
    garbling.garbled = sum(_gates(items, index) for index in range(len(items.stages)))
    garbling.prepared = sum(part.circuit.transfers for part in items.parts)
    products.at_s1(operations_s1(items, table_group(layout, TABLE_BUDGET)))
    products.at_s2(operations_s2(items))
    products.prepared = products.transfers = sum(sheet.transfers for sheet in items.sheets)
    products.sums = _sums(items, range(len(items.stages)))
    return costs


def query_costs(items: ItemPlan, numbers: Sequence[int], label_only: bool) -> Costs:
    """Of one query, a picture an item of these numbers in their conversation; nothing ahead in it."""
    costs, last, pictures = (
        booked(query_turns(items, numbers, label_only)),
        len(items.stages) - 1,
        len(numbers),
    )
    for index in range(last + 1):
        if index:
            function(costs, items.linear_name(index)).sums += pictures * _sums(items, [index])
        if index < last or label_only:
            function(costs, items.circuit_name(index)).evaluated += pictures * _gates(items, index)
    return costs


def _gates(items: ItemPlan, index: int) -> int:
    circuits = [items.parts[place].circuit for place in items.places(index)]
    return sum(circuit.counts.and_gates for circuit in circuits if isinstance(circuit, Circuit))


def _sums(items: ItemPlan, stages: Sequence[int]) -> int:
    """Products of the stages' layers, at both clouds."""
    plan = items.layout.plan
    return 2 * sum(plan.products(step.node) for index in stages for step in items.stages[index].linear)
