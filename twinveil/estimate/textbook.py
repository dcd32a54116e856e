"""The textbook engine's cost, move by move as in protocol/textbook: SMP by SMP."""

from __future__ import annotations

from twinveil.crypto.nonces import Rerandomiser, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import INVERSE_N2, MODMUL_N, MODMUL_N2, MUL_N, POWER_N2
from twinveil.estimate.cost import Cost, Costs, booked, function
from twinveil.halves.blinding import Blinding
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.moves import Move, import_turns, moves, query_turns
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout


def import_cost(layout: ImportLayout) -> Cost:
    """Of a model, without the commitment."""
    cost, bits = booked(import_turns(layout))["import"], layout.params.key_bits
    segments = [layout.segments(node) for node in layout.plan.linear_nodes]
    for which, blinding in enumerate((Blinding.MULTIPLICATIVE, Blinding.ADDITIVE)):
        plaintexts = sum(pair[which].plaintexts for pair in segments)
        cost.encrypt(bits, plaintexts)
        cost.s1 += PublicKey.check_counts(plaintexts)
        if blinding is Blinding.MULTIPLICATIVE:
            cost.s1.add(POWER_N2, plaintexts)
        else:
            cost.s1 += PublicKey.add_plain_counts(plaintexts)
    for node, pair in zip(layout.plan.linear_nodes, segments, strict=True):
        values = sum(segment.count for segment in pair)
        cost.encrypt(bits, values)
        cost.s1 += PublicKey.check_counts(values)
        cost.s1 += PublicKey.add_plain_counts(values)
        for part in layout.parts(node):
            step, count = layout.step(part), sum(segment.plaintexts for segment in part)
            _mask(cost, bits, count)
            cost.garbled += step.counts.and_gates
            cost.evaluated += step.counts.and_gates
            cost.prepared += step.choices
            cost.transfers += step.choices
    cost.bases = 1
    return cost


def query_costs(layout: TextbookLayout, label_only: bool) -> Costs:
    """Of one query."""
    costs, bits = booked(query_turns(layout, label_only)), layout.params.key_bits
    for move in moves(layout, label_only):
        cost = function(costs, move.function)
        _MOVES[move.kind](cost, bits, move)
        if move.circuit is not None and move.kind in ("record", "output", "label"):
            cost.evaluated += move.circuit.counts.and_gates
            cost.transfers += move.circuit.choices
    function(costs, "garbling").garbled = sum(step.counts.and_gates for step in layout.steps())
    function(costs, "label")  # it has a row even where it costs nothing
    return costs


def smp(products: int, key_bits: int) -> Cost:
    """One message of SMP, algorithm 1: lines 1 and 3 at S1, none of it shared; line 2 at S2."""
    cost = Cost(products=products)
    cost.s1 += PublicKey.add_plain_counts(2 * products)
    cost.s1 += Rerandomiser.freshen_fully_counts(2 * products)
    cost.s1 += PublicKey.check_counts(products)
    cost.s1 += {POWER_N2: 2 * products, MODMUL_N2: 3 * products, MODMUL_N: products, MUL_N: products}
    cost.decrypt(products, products)
    cost.s2.add(MODMUL_N, products)
    cost.encrypt(key_bits, products)
    return cost


def _open(cost: Cost, key_bits: int, move: Move) -> None:
    cost.prepared += move.values
    cost.bases += 1


def _picture(cost: Cost, key_bits: int, move: Move) -> None:
    cost.encrypt(key_bits, move.values)
    cost.s1 += PublicKey.check_counts(move.values)
    cost.s1.add(POWER_N2, move.values)
    _mask(cost, key_bits, move.values)


def _mask(cost: Cost, key_bits: int, plaintexts: int) -> None:
    """Plaintexts that clients packed, each under a nonce h^s."""
    cost.s1 += PublicKey.add_plain_counts(plaintexts)
    cost.at_s1(nonce_counts(key_bits, "full", plaintexts))
    cost.s1.add(MODMUL_N2, plaintexts)
    cost.decrypt(plaintexts)


def _masked(cost: Cost, key_bits: int, move: Move) -> None:
    cost.s1 += PublicKey.add_plain_counts(move.values)
    cost.s1 += Rerandomiser.freshen_fully_counts(move.values)
    cost.decrypt(move.values)


def _record(cost: Cost, key_bits: int, move: Move) -> None:
    cost.encrypt(key_bits, move.values)
    cost.s1 += PublicKey.check_counts(move.values)
    cost.s1 += {INVERSE_N2: move.values, MODMUL_N2: move.values}


def _output(cost: Cost, key_bits: int, move: Move) -> None:
    cost.encrypt(key_bits, move.values)
    cost.s1 += PublicKey.check_counts(move.values)
    cost.s1 += PublicKey.add_plain_counts(move.values)


def _products(cost: Cost, key_bits: int, move: Move) -> None:
    full, rest = divmod(move.values, BATCH)
    cost.include(smp(BATCH, key_bits), full)
    if rest:
        cost.include(smp(rest, key_bits))
    cost.s1.add(MODMUL_N2, move.sums)


def _label(cost: Cost, key_bits: int, move: Move) -> None:
    """Gates and transfers alone."""


_MOVES = {
    "open": _open,
    "picture": _picture,
    "mask": _masked,
    "record": _record,
    "output": _output,
    "products": _products,
    "label": _label,
}
