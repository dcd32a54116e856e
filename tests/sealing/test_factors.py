"""First factors: of this picture, in this context, and nothing else; and what the two ways compute."""

from __future__ import annotations

import numpy as np
import pytest

from twinveil.errors import BadImage, BadPlan
from twinveil.sealing import synthetic
from twinveil.sealing.factors import (
    FORMS,
    Adversarial,
    Variational,
    factor_model,
    factor_seed,
    first_factor,
    image_safety_factor,
)
from twinveil.sealing.features import Recogniser, closeness, template
from twinveil.sealing.integers import COSINE_ONE, ONE
from twinveil.sealing.network_files import make_network
from twinveil.sealing.pixels import grey_square, signed

NETWORKS = [synthetic.variational(), synthetic.adversarial()]
PICTURE = synthetic.png(synthetic.picture("a face"))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.kind)
def test_a_factor_is_of_its_picture_and_its_context(network) -> None:
    model = factor_model(network)
    factor = first_factor(model, b"context", PICTURE)
    assert factor == first_factor(model, b"context", PICTURE)
    assert factor != first_factor(model, b"contexu", PICTURE)
    pixels = synthetic.picture("a face")
    pixels[20, 20] ^= 1
    assert factor != first_factor(model, b"context", synthetic.png(pixels))


def test_the_variational_factor_has_a_byte_a_pixel() -> None:
    factor = Variational(NETWORKS[0]).compute(synthetic.picture("a face"), b"seed")
    assert len(factor) == 16 * 16
    assert len(set(factor)) > 50


def test_a_sample_has_the_posteriors_mean_and_deviation() -> None:
    mean = np.full((1, 64, 64), 3 * ONE, dtype=np.int64)
    log_variance = np.full_like(mean, ONE)  # sigma = exp(1/2)
    z = Variational.sample(mean, log_variance, b"seed") / ONE
    assert abs(z.mean() - 3) < 0.1
    assert abs(z.std() - np.exp(0.5)) < 0.1


def test_similarity_is_the_cosine_of_surroundings() -> None:
    model = Adversarial(NETWORKS[1])
    picture = synthetic.picture("a face")
    similarity = model.similarity(picture, b"seed")
    original = signed(grey_square(picture, 16)) >> 3
    derived = model.derived(picture, b"seed") >> 3
    a, b = original[4:7, 8:11].reshape(-1) / 1.0, derived[4:7, 8:11].reshape(-1) / 1.0
    wanted = a @ b / np.sqrt((a @ a) * (b @ b))
    assert similarity[5, 9] / (1 << 15) == pytest.approx(wanted, abs=1e-3)
    assert np.abs(similarity).max() <= COSINE_ONE


@pytest.mark.parametrize(("form", "size"), [*zip(FORMS, (2 * 16 * 16, 2, 4, 4 * 16), strict=True)])
def test_every_form_has_its_size(form, size: int) -> None:
    model = factor_model(synthetic.adversarial(form=form))
    assert len(model.compute(synthetic.picture("a face"), b"seed")) == size


def test_networks_of_another_kind_give_no_factor() -> None:
    with pytest.raises(BadPlan, match="gives no safety factor"):
        factor_model(synthetic.recogniser())
    with pytest.raises(BadPlan, match="parts"):
        factor_model(make_network("variational", 16, {}, {}, {}))
    with pytest.raises(BadPlan, match="not by 'columns'"):
        factor_model(synthetic.adversarial(form="columns"))
    with pytest.raises(BadPlan, match="recognises no faces"):
        Recogniser(NETWORKS[0])
    with pytest.raises(BadPlan, match="threshold"):
        Recogniser(synthetic.recogniser(threshold=0))


def test_no_picture_has_no_factor() -> None:
    with pytest.raises(BadImage):
        first_factor(factor_model(NETWORKS[0]), b"context", b"no picture")


def test_joined_factors_and_seeds_tell_their_parts_apart() -> None:
    assert image_safety_factor(b"ab", b"c") != image_safety_factor(b"a", b"bc")
    assert factor_seed(b"ab", b"c") != factor_seed(b"a", b"bc")


def test_closeness() -> None:
    recogniser = Recogniser(synthetic.recogniser())
    shots = [recogniser.features(synthetic.picture("a face", shot)) for shot in range(4)]
    stranger = recogniser.features(synthetic.picture("another face"))
    known = template(shots[:3])
    assert closeness(shots[3], known) >= recogniser.threshold
    assert closeness(stranger, known) < recogniser.threshold
    assert closeness(known, known) == COSINE_ONE
    assert closeness(known, -known) == -COSINE_ONE
    assert closeness(known, known * 0) == 0
    with pytest.raises(BadPlan):
        closeness(known, known[:-1])
