"""Both engines of one outsourced model against the integer oracle, bit for bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import edge_images, few_of, random_image, random_model, small_icnn_model
from twinveil.errors import BadInput
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.model.layout import ENGINES
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.rehearsal.clouds import Clouds

pytestmark = pytest.mark.slow


def images(model: QuantisedModel, seed: int) -> npt.NDArray[np.uint8]:
    """A random one, all zero, all at the maximum, few levels (ties in every pool)."""
    return np.stack([random_image(model.plan, seed), *edge_images(model.plan)[:3]])


@pytest.mark.parametrize("seed", few_of(6, 3))
def test_both_equal_the_oracle(seed: int) -> None:
    model = small_random(seed)
    clouds, batch = Clouds(model, secret_key(512), ENGINES), images(model, seed)
    vectors, labels = oracle.run_batch(model, batch), oracle.classify_batch(model, batch)
    assert (clouds.classify(batch).values == vectors).all()
    assert (clouds.classify(batch, label_only=True).values == labels).all()
    for place, image in enumerate(batch[:2]):
        looked_at: list[TextbookS1] = []
        got = clouds.classify(image[None], "textbook", watch=looked_at.append)
        assert (got.values == vectors[place]).all()
        # A bar over a picture's products ends where they do.
        assert looked_at[0]._smps_done == looked_at[0]._smps > 0
        assert clouds.classify(image[None], "textbook", label_only=True).values == labels[place]


@pytest.mark.parametrize("seed", few_of(20, 6))
def test_packed_of_any_size(seed: int) -> None:
    model = random_model(seed)
    clouds, batch = Clouds(model, secret_key(512)), images(model, seed)
    for pictures in (batch[:1], batch):
        assert (clouds.classify(pictures).values == oracle.run_batch(model, pictures)).all()
        labels = clouds.classify(pictures, label_only=True).values
        assert (labels == oracle.classify_batch(model, pictures)).all()


@pytest.mark.parametrize("label_only", [False, True])
def test_under_the_owners_policy(label_only: bool) -> None:
    model = small_random(1)
    clouds = Clouds(model, secret_key(512), ENGINES, label_only=label_only)
    image = images(model, 1)[:1]
    for engine in ENGINES:
        assert clouds.classify(image, engine, label_only=True).values == oracle.classify_batch(model, image)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_is_not_here_for_an_engine(engine: str) -> None:
    model = small_random(2)
    clouds = Clouds(model, secret_key(512), tuple(each for each in ENGINES if each != engine))
    with pytest.raises(BadInput, match=f"not here for the {engine} engine"):
        clouds.classify(images(model, 2)[:1], engine)


def test_a_narrow_icnn_at_a_key_of_real_size() -> None:
    model = small_icnn_model(3)
    image = images(model, 3)[:1]
    assert (Clouds(model, secret_key(2048)).classify(image).values == oracle.run_batch(model, image)).all()


def small_random(seed: int) -> QuantisedModel:
    """A random network of at most 500 products."""
    for attempt in range(1000):
        model = random_model(1000 * seed + attempt)
        plan = model.plan
        if sum(plan.products(node) for node in plan.linear_nodes) <= 500:
            return model
    raise RuntimeError("no small network among a thousand")
