"""S1's powers: what S2 would decrypt is both sums, and the operations follow from the layout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model, small_icnn_model
from tests.protocol.packed.layers import linear
from tests.protocol.packed.test_layout import KEYS, check, values, wide
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.slots import pack
from twinveil.crypto.tally import Tally
from twinveil.network.plan import Plan
from twinveil.parallel import INLINE, Workers
from twinveil.protocol.packed.geometry import placed
from twinveil.protocol.packed.layout import ItemLayout, LayerLayout
from twinveil.protocol.packed.powers import KernelTables, Machine, input_sums, table_group, tables_bytes
from twinveil.ring import Words, modulo


def encrypted(key_bits: int, plaintexts: list[mpz]) -> list[mpz]:
    key = secret_key(key_bits).public_key
    return key.parse(Encryptor(key, Tally()).encrypt(plaintexts).to_bytes(), len(plaintexts))


def kernels(layer: LayerLayout, shares: Words, key_bits: int) -> list[mpz]:
    plaintexts = []
    for chunk in range(layer.kernel.chunks):
        plaintexts += pack(placed(shares, layer.kernel.weights(chunk), layer.ring), layer.slots.bits)
    return encrypted(key_bits, plaintexts)


def both_sums_agree(plan: Plan, key_bits: int, largest: bool, workers: Workers = INLINE) -> None:
    source, layout, key = np.random.default_rng(0), ItemLayout(plan, key_bits, sigma=40), secret_key(key_bits)
    layers = list(layout.layers.values())
    shares = {
        n.name: values(plan.weight_shape(n), n.accumulator_bits, source, largest) for n in plan.linear_nodes
    }
    # Wider than the layer's own modulus, as a tensor's r and u are where another layer reads it, too.
    inputs = {n.name: values(plan.shapes[n.source], 40, source, largest) for n in plan.linear_nodes}
    machine = Machine(key.public_key, workers)
    tables = KernelTables(
        layout, {n: kernels(layer, shares[n], key_bits) for n, layer in layout.layers.items()}
    )
    plaintexts = []
    for layer in layers:
        u = inputs[layer.node.name]
        plaintexts += pack(placed(u, layer.inputs.inputs, layer.ring), layer.slots.bits)
    assert len(plaintexts) == layout.encryptions
    bases = machine.modulus.residues(encrypted(key_bits, plaintexts))
    from_inputs = input_sums(layers, [shares[layer.node.name] for layer in layers], bases, machine)
    for layer, sums in zip(layers, from_inputs, strict=True):
        name = layer.node.name
        x = modulo(inputs[name], layer.ring)
        want = linear(x, shares[name], layer.node)
        check(layer, [int(p) for p in key.decrypt(sums.to_ints())], layer.inputs.outputs, want)
        made = tables.sums(layer, inputs[name], machine)
        check(layer, [int(p) for p in key.decrypt(made.to_ints())], layer.kernel.outputs, want)


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_a_random_network(seed: int) -> None:
    both_sums_agree(random_model(seed).plan, KEYS[seed], largest=seed == 1)


@pytest.mark.parametrize("kind", [Workers.threads, Workers.processes])
def test_sums_of_a_narrow_icnn_on_workers(kind: Callable[[int], Workers]) -> None:
    with kind(2) as workers:
        both_sums_agree(small_icnn_model(2, side=8).plan, 512, False, workers)


def test_tables_stay_within_their_budget() -> None:
    layout = ItemLayout(small_icnn_model(2).plan, 2048)
    groups = [table_group(layout, tables_bytes(layout, group)) for group in (8, 5, 2)]
    assert groups == [8, 5, 2]
    assert table_group(layout, 1) == 1
    assert tables_bytes(layout, 8) > 4 * tables_bytes(layout, 4)


def test_a_million_weights_have_tables_within_the_default_budget() -> None:
    layout = ItemLayout(wide(330, 8, 3), 2048)
    assert sum(int(np.prod(layout.plan.weight_shape(n))) for n in layout.plan.linear_nodes) > 1_000_000
    assert 1 < table_group(layout, 256 << 20) < 8
