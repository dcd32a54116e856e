"""Both engines against the integer oracle, bit for bit, on every layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.protocol.packed.s2 import PackedS2

from tests.crypto.crypto_keys import secret_key
from tests.networks import few_of, random_model, small_icnn_model
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.rehearsal.clouds import Answered, Clouds
from twinveil.ring import modulo

pytestmark = pytest.mark.slow


def images(model: QuantisedModel, count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Random, all-zero, all-255, two-valued (ties) pictures of the model's shape."""
    generator = np.random.default_rng(seed)
    shape, top = model.plan.image_shape, (1 << model.plan.image_bits) - 1
    kinds = [
        generator.integers(0, top + 1, shape),
        np.zeros(shape),
        np.full(shape, top),
        generator.integers(0, 2, shape) * top,
    ]
    return np.stack([kinds[index % 4] for index in range(count)]).astype(np.uint8)


def layers_agree(model: QuantisedModel, batch: npt.NDArray[np.uint8], got: Answered) -> None:
    """Both clouds' shares put together are the oracle's activations and sums."""
    s1, s2 = got.engine_s1, got.engine_s2
    if not (isinstance(s1, PackedS1) and isinstance(s2, PackedS2)):
        raise TypeError("the packed engine is looked at here")
    traces = [oracle.trace(model, image) for image in batch]
    pieces = s1._layout.schedule.pieces
    for name, share in s1._shares.items():
        joined = modulo(share + s2._shares[name], pieces[name].share_bits).transpose(1, 0, 2, 3)
        if name in traces[0]:
            want = np.stack([trace[name] for trace in traces])
            assert (joined.astype(np.int64) == want).all(), name


@pytest.mark.parametrize("seed", few_of(20, 10))
def test_packed_equals_the_oracle_on_every_layer(seed: int) -> None:
    model = random_model(seed)
    clouds = Clouds(model, secret_key(512))
    for pictures in (1, 3):
        batch = images(model, pictures, seed + pictures)
        got = clouds.classify(batch)
        layers_agree(model, batch, got)
        assert (got.values == oracle.run_batch(model, batch)).all()


def test_packed_inception() -> None:
    model = small_icnn_model(3)
    batch = images(model, 2, 3)
    got = Clouds(model, secret_key(512)).classify(batch)
    layers_agree(model, batch, got)
    assert (got.values == oracle.run_batch(model, batch)).all()


@pytest.mark.parametrize("seed", few_of(6, 3))
@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_label_only(seed: int, engine: str) -> None:
    model = small_random(seed)
    batch = images(model, 1, seed)
    got = Clouds(model, secret_key(512), (engine,)).classify(batch, engine, label_only=True)
    assert got.values[0] == oracle.argmax(oracle.run(model, batch[0]))


@pytest.mark.parametrize("seed", few_of(6, 3))
def test_textbook_equals_the_oracle(seed: int) -> None:
    model = small_random(seed)
    for image in images(model, 2, seed):
        got = Clouds(model, secret_key(512), ("textbook",)).classify(image[None], "textbook")
        assert (got.values[0] == oracle.run(model, image)).all()
        told_to_the_end(got)


def told_to_the_end(got: Answered) -> None:
    """A bar over a picture's products ends where they do."""
    if not isinstance(engine := got.engine_s1, TextbookS1):
        raise TypeError("the textbook engine is looked at here")
    assert engine._smps_done == engine._smps > 0


def small_random(seed: int) -> QuantisedModel:
    """A random network of at most 500 products."""
    for attempt in range(1000):
        model = random_model(1000 * seed + attempt)
        plan = model.plan
        if sum(plan.products(node) for node in plan.linear_nodes) <= 500:
            return model
    raise RuntimeError("no small network among a thousand")
