"""What an import into the textbook engine leaves at S1: E(K) and E(b) exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model, small_icnn_model
from twinveil.halves.model import blind_model
from twinveil.network.plan import QuantisedModel
from twinveil.params import Params
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.rehearsal.clouds import Clouds


def imported(model: QuantisedModel, key_bits: int = 512) -> tuple[Clouds, ModelS1]:
    clouds = Clouds(model, secret_key(key_bits), ("textbook",))
    assert clouds.s1.textbook
    return clouds, clouds.s1.textbook


def decrypted(clouds: Clouds, ciphertexts: list[mpz]) -> list[int]:
    return [int(m) for m in clouds.secret.decrypt(ciphertexts)]


def exact(model: QuantisedModel, key_bits: int = 512) -> bool:
    """Whether S1 has E(K) and E(b), value by value."""
    clouds, found = imported(model, key_bits)
    n = int(clouds.public.n)
    return all(
        decrypted(clouds, ciphertexts[node.name]) == [int(v) % n for v in values[node.name].reshape(-1)]
        for node in model.plan.linear_nodes
        for ciphertexts, values in ((found.kernels, model.weights), (found.biases, model.biases))
    )


@pytest.mark.parametrize("seed", range(6))
def test_ciphertexts_are_the_model(seed: int) -> None:
    assert exact(random_model(seed))


@pytest.mark.parametrize("extreme", ["lowest", "highest"])
def test_extreme_weights_survive_the_import(extreme: str) -> None:
    model = random_model(2)
    weights = {}
    for node in model.plan.linear_nodes:
        top = 1 << (node.weight_bits - 1)
        shape = model.plan.weight_shape(node)
        weights[node.name] = np.full(shape, -top if extreme == "lowest" else top - 1)
    assert exact(QuantisedModel(model.plan, weights, model.biases))


def test_a_layer_in_several_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.protocol.textbook.model.layout.PART_PLAINTEXTS", 1)
    model = small_icnn_model(4)
    layout = imported(model, 384)[1].layout
    assert max(len(layout.parts(node)) for node in model.plan.linear_nodes) > 2
    assert exact(model, 384)


# Whatever an owner sends, a circuit forces its range before it is a weight.


def test_weights_out_of_range_are_forced_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(2)
    monkeypatch.setattr("twinveil.rehearsal.clouds.blind_model", _shuffled)
    clouds, found = imported(model)
    n = int(clouds.public.n)
    for node in model.plan.linear_nodes:
        top = 1 << (node.weight_bits - 1)
        values = [v - n if v > n // 2 else v for v in decrypted(clouds, found.kernels[node.name])]
        assert all(-top <= value < top for value in values)
    assert not exact(model)


def _shuffled(model: QuantisedModel, engines: Sequence[str], params: Params, n: mpz) -> tuple[bytes, bytes]:
    """Halves that do not belong together: every plaintext is some number modulo N."""
    return blind_model(model, engines, params, n)[0], blind_model(model, engines, params, n)[1]
