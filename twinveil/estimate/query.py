"""What one query costs, before it runs: the skeleton of protocol/query with an engine's cost in it.

    costs = estimate(plan, Params(2048), "packed")
    costs["SCVL"].bytes, costs["SCVL"].s1.as_dict(), total(costs).messages

Bytes, messages and operations are exactly those that the clouds' meters show; the plan decides all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.blinding import picture_segment
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import MODMUL_N2, POWER_N2
from twinveil.errors import BadInput
from twinveil.estimate.cost import Costs, corrections, function, garbled_batch
from twinveil.estimate.packed import PackedCost
from twinveil.estimate.textbook import TextbookCost
from twinveil.estimate.wire import round_bytes
from twinveil.garbling.base_ot import BASE_COUNT, POINT_BYTES
from twinveil.garbling.ot_extension import prepare_bytes
from twinveil.params import Params
from twinveil.plan import Plan
from twinveil.protocol.conversation import ROUNDS_VERSION
from twinveil.protocol.garbled import Step
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.steps import steps as packed_steps
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.schedule import schedule

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

    Raises BadInput for an engine that does not exist, BadPlan for a plan that the key cannot carry.
    """
    chosen, steps = engine_cost(plan, params, engine, pictures, workers)
    costs: Costs = {}
    _prepare(costs, chosen, steps, engine, pictures)
    rest = iter(steps)
    _import(costs, chosen, next(rest), plan, params, pictures, label_only)
    stages = schedule(plan).stages
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


def engine_cost(
    plan: Plan, params: Params, engine: str, pictures: int = 1, workers: int = 1
) -> tuple[PackedCost | TextbookCost, Sequence[Step]]:
    """An engine's costs and the garbled steps of its query."""
    if engine == "packed":
        layout = PackedLayout(plan, params.key_bits, params.sigma, pictures)
        return PackedCost(layout, workers), packed_steps(layout)
    if engine != "textbook":
        raise BadInput(f"there is no engine {engine!r}: use packed or textbook")
    if pictures != 1:
        raise BadInput("the textbook engine classifies one picture at a time")
    textbook = TextbookLayout(plan, params, limit=None)
    return TextbookCost(textbook), textbook.steps()


def _prepare(
    costs: Costs, engine: PackedCost | TextbookCost, steps: Sequence[Step], name: str, pictures: int
) -> None:
    cost = function(costs, "ahead")
    opening = round_bytes(
        "open_query",
        protocol_version=ROUNDS_VERSION,
        session_id=ID_BYTES,
        import_id=ID_BYTES,
        layout=HASH_BYTES,
        engine=len(name.encode()),
        pictures=pictures,
    )
    cost.ask(opening, round_bytes("query_opened", base_ot=POINT_BYTES))
    request = round_bytes("prepare", base_ot=BASE_COUNT * POINT_BYTES, masked_sums=engine.prepare(costs))
    transfers = sum(step.choices for step in steps)
    cost.ask(request, round_bytes("prepared", extension=prepare_bytes(transfers)))
    garbling = function(costs, "garbling")
    garbling.garbled = sum(step.counts.and_gates for step in steps)
    garbling.prepared = transfers


def _import(
    costs: Costs,
    engine: PackedCost | TextbookCost,
    step: Step,
    plan: Plan,
    params: Params,
    pictures: int,
    label_only: bool,
) -> None:
    cost, bits = function(costs, "import"), params.key_bits
    count = picture_segment(plan, pictures, key_bits=bits, sigma=params.sigma).plaintexts
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
