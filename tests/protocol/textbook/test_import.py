"""What an import leaves at the clouds: E(K) and E(b) exactly, shares that add up, nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.crypto.unpacking import unpack_wide
from tests.networks import random_model, small_icnn_model
from twinveil.network.plan import QuantisedModel
from twinveil.rehearsal.clouds import Clouds
from twinveil.ring import modulo


def signed_slots(plaintext: int, slots: int, slot_bytes: int, n: int) -> list[int]:
    """Small signed values in slots, carries undone from the lowest slot up."""
    value = plaintext if plaintext < n // 2 else plaintext - n
    width = 8 * slot_bytes
    found = []
    for _ in range(slots):
        low = value & ((1 << width) - 1)
        low -= (low >> (width - 1)) << width
        found.append(low)
        value = (value - low) >> width
    return found


@pytest.mark.parametrize("seed", range(6))
def test_ciphertexts_are_the_kernel(seed: int) -> None:
    model = random_model(seed)
    clouds = Clouds(model, secret_key(512), ("packed", "textbook"))
    n = clouds.public.n
    for node in model.plan.linear_nodes:
        weights, biases = model.weights[node.name].reshape(-1), model.biases[node.name]
        assert decrypted(clouds, clouds.s1.kernels["textbook", node.name]) == [int(w) % n for w in weights]
        assert decrypted(clouds, clouds.s1.biases["textbook", node.name]) == [int(b) % n for b in biases]
        layer = clouds.layout.packed.layers[node.name]
        slots = layer.kernel_slots.reshape(-1, layer.ahead.count)
        for plaintext, places in zip(
            decrypted(clouds, clouds.s1.kernels["packed", node.name]), slots, strict=True
        ):
            got = signed_slots(plaintext, layer.ahead.count, layer.ahead.bytes, int(n))
            assert got == [int(weights[place]) if place >= 0 else 0 for place in places]


@pytest.mark.parametrize("seed", range(6))
def test_shares_add_up_to_the_kernel(seed: int) -> None:
    model = random_model(seed)
    clouds = Clouds(model, secret_key(512))
    for node in model.plan.linear_nodes:
        bits = node.accumulator_bits
        joined = modulo(clouds.s1.shares[node.name] + clouds.s2.shares[node.name], bits)
        want = modulo(model.weights[node.name].astype(np.int64).view(np.uint64), bits)
        assert (joined == want).all()
        # A share alone is uniform: equal to the weights only by accident.
        if want.size > 40:
            assert (clouds.s1.shares[node.name] != want).mean() > 0.5
            assert (clouds.s2.shares[node.name] != want).mean() > 0.5


@pytest.mark.parametrize("extreme", ["lowest", "highest"])
def test_extreme_weights_survive_the_import(extreme: str) -> None:
    model = random_model(2)
    weights = {}
    for node in model.plan.linear_nodes:
        top = 1 << (node.weight_bits - 1)
        shape = model.plan.weight_shape(node)
        weights[node.name] = np.full(shape, -top if extreme == "lowest" else top - 1)
    clouds = Clouds(QuantisedModel(model.plan, weights, model.biases), secret_key(512), ("textbook",))
    for node in model.plan.linear_nodes:
        got = decrypted(clouds, clouds.s1.kernels["textbook", node.name])
        assert set(got) == {int(weights[node.name].flat[0]) % clouds.public.n}


def decrypted(clouds: Clouds, ciphertexts: list[object]) -> list[int]:
    return [int(m) for m in clouds.secret.decrypt(ciphertexts)]


def test_ways_to_unpack_agree() -> None:
    assert unpack_wide([5 + (7 << 24)], 2, 3) == [[5, 7]]
    assert signed_slots(5 + (7 << 24), 2, 3, 1 << 100) == [5, 7]


def test_a_layer_in_several_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.protocol.textbook.model.layout.PART_PLAINTEXTS", 1)
    model = small_icnn_model(4)
    clouds = Clouds(model, secret_key(384), ("textbook",))
    counts = [len(clouds.layout.parts(node)) for node in model.plan.linear_nodes]
    assert max(counts) > 2
    for node in model.plan.linear_nodes:
        weights = model.weights[node.name].reshape(-1)
        want = [int(w) % clouds.public.n for w in weights]
        assert decrypted(clouds, clouds.s1.kernels["textbook", node.name]) == want
        joined = modulo(clouds.s1.shares[node.name] + clouds.s2.shares[node.name], node.accumulator_bits)
        assert (joined.reshape(-1) == modulo(weights.view(np.uint64), node.accumulator_bits)).all()
