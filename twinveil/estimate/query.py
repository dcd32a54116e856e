"""What one query costs, before it runs: the skeleton of protocol/query with an engine's cost in it.

    costs = estimate(plan, Params(2048), "packed")
    costs["SCVL"].bytes, costs["SCVL"].s1.as_dict(), total(costs).messages

Bytes, messages and operations are exactly those that the clouds' meters show; the plan decides all of them.
"""

from __future__ import annotations

from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N2, POWER_N2
from twinveil.estimate.cost import Costs, corrections, function, garbled_batch
from twinveil.estimate.packed import PackedCost
from twinveil.estimate.textbook import TextbookCost
from twinveil.estimate.wire import round_bytes
from twinveil.garbling.base_ot import BASE_COUNT, POINT_BYTES
from twinveil.garbling.ot_extension import prepare_bytes
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.query.engines import QueryPlan, query_plan
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.rounds.scripted import ROUNDS_VERSION

ID_BYTES = 16
HASH_BYTES = 32


def estimate(
    plan: Plan,
    params: Params,
    engine: str = "packed",
    *,
    pictures: int = 1,
    workers: int = 1,
    label_only: bool = False,
) -> Costs:
    """Costs by function. workers: S1's processes, which share a stage's outputs out and so change counts.

    Raises what query_plan does.
    """
    planned = query_plan(plan, params, engine, pictures, limit=None)
    chosen, steps = _engine_cost(planned, workers), planned.steps
    costs: Costs = {}
    _prepare(costs, chosen, planned)
    rest = iter(steps)
    _import(costs, chosen, next(rest), planned, label_only)
    stages = planned.layout.schedule.stages
    for stage in stages[1:-1]:
        chosen.scvl(costs, rest, stage)
        chosen.sact_smap(costs, stage)
    answered = round_bytes("answered")
    reply = corrections(steps[-1]) if label_only else answered
    chosen.sct(costs, rest, stages[-1], reply)
    label = function(costs, "label")
    if label_only:
        label.evaluate(steps[-1])
        label.ask(garbled_batch(steps[-1]), answered)
    return costs


def _engine_cost(planned: QueryPlan, workers: int) -> PackedCost | TextbookCost:
    layout = planned.layout
    return PackedCost(layout, workers) if isinstance(layout, PackedLayout) else TextbookCost(layout)


def _prepare(costs: Costs, engine: PackedCost | TextbookCost, planned: QueryPlan) -> None:
    cost = function(costs, "ahead")
    opening = round_bytes(
        "open_query",
        protocol_version=ROUNDS_VERSION,
        session_id=ID_BYTES,
        import_id=ID_BYTES,
        layout=HASH_BYTES,
        engine=len(planned.engine.encode()),
        pictures=planned.pictures,
    )
    cost.ask(opening, round_bytes("query_opened", base_ot=POINT_BYTES))
    request = round_bytes("prepare", base_ot=BASE_COUNT * POINT_BYTES, masked_sums=engine.prepare(costs))
    transfers = sum(step.choices for step in planned.steps)
    cost.ask(request, round_bytes("prepared", extension=prepare_bytes(transfers)))
    garbling = function(costs, "garbling")
    garbling.garbled = sum(step.counts.and_gates for step in planned.steps)
    garbling.prepared = transfers


def _import(
    costs: Costs, engine: PackedCost | TextbookCost, step: GarbledStep, planned: QueryPlan, label_only: bool
) -> None:
    cost, bits = function(costs, "import"), planned.params.key_bits
    count = planned.picture.plaintexts
    ciphertexts = count * 2 * bits // 8
    bind = round_bytes("bind", query_id=ID_BYTES, binding=HASH_BYTES, label_only=int(label_only))
    cost.ask(bind, round_bytes("import_factors", factors=ciphertexts))
    cost.ask(round_bytes("masked_plaintexts", ciphertexts=ciphertexts), corrections(step))
    cost.evaluate(step)
    cost.ask(garbled_batch(step), engine.accept(costs))
    cost.s1 += PublicKey.check_counts(count)
    cost.s1.add(POWER_N2, count)
    cost.s1 += PublicKey.add_plain_counts(count)
    cost.draw(bits, count)
    cost.s1.add(MODMUL_N2, count)
    cost.encrypt(bits, count)
    cost.decrypt(count)
