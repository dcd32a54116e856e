"""The attacker learns what can be learned, nothing where there is nothing, and the same thing every time."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from owner.audit.attack import AttackOptions, Material, _Training, train_attacker
from owner.audit.features import Extractor
from owner.audit.inverse import FlatInverse, SpatialInverse, inverse_network
from owner.audit.material import LayerMaterial
from owner.audit.metrics import ssim
from owner.audit.risk import STRONG_ENOUGH
from owner.audit.standard import MAX_FLAT, Standard, ridge
from owner.audit.subjects import Split, split
from tests.owner.audit.sets import digits, untrained
from twinveil.errors import BadInput

pytestmark = pytest.mark.slow

FEW = AttackOptions(epochs=4)


@pytest.fixture(scope="module")
def parts() -> Split:
    return split(digits(), 1, limit=160)


@pytest.fixture(scope="module")
def layer(parts: Split) -> LayerMaterial:
    return LayerMaterial(Extractor(untrained(digits()), (1, 12, 12)), "picture", parts)


def noise(parts: Split, width: int) -> tuple[Material, torch.Tensor]:
    """Features that have nothing to do with the pictures."""
    source = torch.Generator().manual_seed(1)
    sample, validation, target = (
        (torch.randn(len(group), width, generator=source), torch.from_numpy(group.pictures).float() / 255)
        for group in (parts.sample, parts.validation, parts.target)
    )
    return Material(lambda _: sample, validation), target[0]


def flat(material: Material) -> Material:
    def sample(source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        features, pictures = material.sample(source)
        return features.flatten(1), pictures

    return Material(sample, (material.validation[0].flatten(1), material.validation[1]))


def test_features_with_places_get_transposed_convolutions_flat_ones_a_dense_start() -> None:
    spatial, dense = (
        inverse_network((8, 4, 4), (1, 16, 16), "plain"),
        inverse_network((40,), (1, 16, 16), "plain"),
    )
    assert isinstance(spatial, SpatialInverse)
    assert any(isinstance(module, torch.nn.ConvTranspose2d) for module in spatial.modules())
    assert isinstance(dense, FlatInverse)
    assert isinstance(inverse_network((40, 1, 1), (1, 16, 16), "plain"), FlatInverse)
    for network, shape in ((spatial, (2, 8, 4, 4)), (dense, (2, 40))):
        assert network(torch.zeros(shape)).shape == (2, 1, 16, 16)


@pytest.mark.parametrize("picture", [(1, 8, 8), (3, 17, 12), (1, 28, 28)])
@pytest.mark.parametrize("features", [(5,), (3, 2, 2), (2, 9, 6), (1, 28, 28)])
@pytest.mark.parametrize("architecture", ["plain", "strong"])
def test_any_features_give_pictures_of_the_right_shape(
    picture: tuple[int, int, int], features: tuple[int, ...], architecture: str
) -> None:
    network = inverse_network(features, picture, "strong" if architecture == "strong" else "plain")
    assert network(torch.zeros(2, *features)).shape == (2, *picture)


def test_the_stronger_attacker_is_larger() -> None:
    for features in ((8, 6, 6), (40,)):
        sizes = [
            sum(weights.numel() for weights in inverse_network(features, (1, 12, 12), which).parameters())
            for which in ("plain", "strong")
        ]
        assert sizes[1] > 2 * sizes[0]


def test_the_attacker_copies_the_pictures_themselves(layer: LayerMaterial, parts: Split) -> None:
    features, pictures = layer.pair(parts.target)
    for material, given in ((layer.material(), features), (flat(layer.material()), features.flatten(1))):
        attacker = train_attacker(material, dataclasses.replace(FEW, epochs=12))
        assert ssim(attacker(given), pictures).mean() > STRONG_ENOUGH


def test_nothing_comes_of_noise(parts: Split) -> None:
    """Neither from few features nor from more than there are samples."""
    pictures = torch.from_numpy(parts.target.pictures).float() / 255
    mean = torch.from_numpy(parts.sample.pictures).float().mean(dim=0) / 255
    known = ssim(mean.expand_as(pictures), pictures).mean()
    for width in (20, 3000):
        material, given = noise(parts, width)
        attacker = train_attacker(material, FEW)
        assert abs(ssim(attacker(given), pictures).mean() - known) < 0.08


def test_shuffled_features_teach_no_more_than_noise(layer: LayerMaterial, parts: Split) -> None:
    features, pictures = layer.pair(parts.target)
    honest, shuffled = (train_attacker(layer.material(), FEW, shuffled=each) for each in (False, True))
    assert ssim(shuffled(features), pictures).mean() < ssim(honest(features), pictures).mean() - 0.3


def test_shuffled_features_are_other_pictures_and_others_every_time() -> None:
    ids = torch.arange(50.0)[:, None]
    pictures = ids.reshape(50, 1, 1, 1).expand(50, 1, 8, 8) / 50
    training = _Training(Material(lambda _: (ids, pictures), (ids, pictures)), FEW, True)
    passes = [training._epoch() for _ in range(2)]
    for features, given in passes:
        assert features[:, 0].sort().values.tolist() == ids[:, 0].tolist()
        assert torch.equal(given, pictures)
        assert (features != ids).float().mean() > 0.8
    assert not torch.equal(passes[0][0], passes[1][0])


def test_equal_seeds_give_equal_attackers(layer: LayerMaterial, parts: Split) -> None:
    features, _ = layer.pair(parts.target)
    first, second, other = (
        train_attacker(layer.material(), AttackOptions(epochs=1, seed=seed))(features) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_stops_when_validation_no_longer_gains(parts: Split) -> None:
    material, _ = noise(parts, 20)
    told: list[int] = []
    attacker = train_attacker(
        material, AttackOptions(epochs=40, patience=2), report=lambda done, most: told.append(done)
    )
    learned = attacker.history[1:]
    assert len(learned) == learned.index(max(learned)) + 3 < 40
    assert told == list(range(1, len(attacker.history)))
    assert max(attacker.history) == attacker.history[attacker.best_epoch]


def test_ridge_finds_a_linear_map_and_gives_up_on_noise() -> None:
    source = torch.Generator().manual_seed(1)
    features = torch.randn(60, 10, generator=source)
    weights = torch.randn(16, 10, generator=source)
    wanted = features @ weights.T
    checked = torch.randn(20, 10, generator=source)
    mean = torch.zeros(1, 4, 4)
    found = ridge(features, wanted, (checked, (checked @ weights.T).reshape(20, 1, 4, 4)), mean)
    assert torch.allclose(found, weights, atol=0.01)
    wide = torch.randn(60, 200, generator=source)
    other = torch.randn(20, 1, 4, 4, generator=source)
    assert ridge(wide, wanted, (torch.randn(20, 200, generator=source), other), mean).abs().max() < 0.01


def test_wide_features_are_projected_without_losing_what_the_samples_show() -> None:
    features = torch.randn(30, MAX_FLAT + 50, generator=torch.Generator().manual_seed(1)) * 3 + 1
    standard = Standard.of(features)
    kept = standard(features)
    assert kept.shape[1] == 29
    plain = (features - standard.mean) * standard.scale
    assert torch.allclose(kept @ kept.T, plain @ plain.T, atol=1.0)  # of about 2,000


def test_constant_features_are_ignored() -> None:
    features = torch.cat([torch.full((10, 2), 7.0), torch.randn(10, 1)], dim=1)
    standard = Standard.of(features)(features + 5.0)
    assert torch.isfinite(standard).all()
    assert (standard[:, :2] == 0).all()


@pytest.mark.parametrize("fault", [{"epochs": 0}, {"seed": -1}])
def test_options_that_cannot_be(fault: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="must be"):
        AttackOptions(**fault)
