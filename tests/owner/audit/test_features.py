"""Features are what the network itself computes, under names that can be asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from owner.audit.features import Extractor
from tests.owner.audit.sets import people, untrained
from twinveil.errors import BadInput
from twinveil.pictures.masks import Mask


def pixels(side: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (3, 1, side, side), generator=torch.Generator().manual_seed(1)).float()


def test_every_layer_of_the_icnn() -> None:
    network = untrained(people(6))
    extractor, given = Extractor(network, (1, 12, 12)), pixels()
    assert torch.equal(extractor(given, "picture"), given / 256)
    stem = network.stem7(given / 256)
    assert torch.equal(extractor(given, "stem7"), stem)
    assert torch.equal(extractor(given, "stem7.conv"), network.stem7.conv(given / 256))
    assert torch.equal(extractor(given, "scores"), network(given / 256))
    label = extractor(given, "label")
    assert torch.equal(label.argmax(dim=1), network(given / 256).argmax(dim=1))
    assert label.sum(dim=1).tolist() == [1, 1, 1]
    for name in extractor.layers:
        assert extractor(given, name).shape[1:] == extractor.shapes[name]


def test_a_mask_covers_what_the_network_gets() -> None:
    network = untrained(people(6))
    mask = Mask("left", np.arange(12) >= np.full((12, 1), 5))
    given = pixels()
    covered = given * (torch.arange(12) >= 5)
    masked, whole = Extractor(network, (1, 12, 12), mask), Extractor(network, (1, 12, 12))
    for layer in ("picture", "stem7", "scores"):
        assert torch.equal(masked(given, layer), whole(covered, layer))
    assert not torch.equal(masked(given, "stem7"), whole(given, "stem7"))


def test_the_layers_of_an_audit_in_the_order_of_travel() -> None:
    extractor = Extractor(untrained(people(6)), (1, 12, 12))
    default = ["picture", "stem7", "stem_pool", "stem1", "stem3", "a", "b", "pool", "scores", "label"]
    assert list(extractor.default_layers()) == default


def test_any_network_with_named_layers() -> None:
    network = nn.Sequential()
    network.add_module("first", nn.Conv2d(1, 2, 3))
    network.add_module("flat", nn.Flatten())
    network.add_module("last", nn.Linear(200, 7))
    extractor = Extractor(network, (1, 12, 12))
    assert extractor.default_layers() == ("picture", "first", "scores", "label")
    assert extractor.classes == 7


@pytest.mark.parametrize("first", ["picture", "first"])
def test_what_is_changed_in_place_later_is_read_as_it_was(first: str) -> None:
    convolution = nn.Conv2d(1, 2, 3)
    network = nn.Sequential()
    if first == "first":
        network.add_module("first", convolution)
    network.add_module("relu", nn.Hardtanh(0.4, 0.6, inplace=True))
    network.add_module("flat", nn.Flatten())
    network.add_module("last", nn.LazyLinear(7))
    network(torch.zeros(1, 1, 12, 12))
    extractor, given = Extractor(network, (1, 12, 12)), pixels()
    wanted = convolution(given / 256) if first == "first" else given / 256
    assert torch.equal(extractor(given, first), wanted)
    assert extractor(given, "relu").min() >= 0.4


def test_an_unknown_layer_is_answered_with_those_there_are() -> None:
    extractor = Extractor(untrained(people(6)), (1, 12, 12))
    with pytest.raises(
        BadInput, match=r"there is no layer conv9; the layers are: picture, stem7\.conv, .*label"
    ):
        extractor.check(["stem7", "conv9"])
    with pytest.raises(BadInput, match="no layer was named"):
        extractor.check([])


def test_a_network_for_other_pictures_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match=r"cannot take pictures of shape \(3, 20, 20\)") as refused:
        Extractor(untrained(people(6)), (3, 20, 20))
    assert "\n" not in str(refused.value)


def test_a_network_without_a_class_vector_is_refused() -> None:
    with pytest.raises(BadInput, match="not class vectors"):
        Extractor(nn.Conv2d(1, 2, 3), (1, 12, 12))
    with pytest.raises(BadInput, match="gives a tuple for 2 pictures, not class vectors"):
        Extractor(nn.LSTM(12, 5), (12, 12))  # type: ignore[arg-type]


class _Refusing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("expected 2D\ninput"), TypeError(), RuntimeError("size")])
def test_whatever_a_network_raises_is_one_line(error: Exception) -> None:
    with pytest.raises(BadInput, match="cannot take pictures of shape") as refused:
        Extractor(_Refusing(error), (1, 12, 12))
    assert "\n" not in str(refused.value)
