"""Covered pictures through four real processes: the mask that the card names, and no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import small_icnn_model
from tests.system.town import Town, stored
from twinveil.errors import BadInput
from twinveil.network import oracle
from twinveil.network.folder import StoredModel
from twinveil.network.plan import QuantisedModel
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask
from twinveil.rpc.gateway_pb2 import Picture as Asked
from twinveil.rpc.gateway_pb2_grpc import GatewayStub
from twinveil.transport.channel import connect

pytestmark = pytest.mark.system

NAME = "covered"


def pixels() -> Picture:
    return np.random.default_rng(5).integers(0, 256, (1, 12, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(mask: Mask) -> QuantisedModel:
    """A random network to which what the mask hides matters."""
    picture = pixels()
    return next(
        model
        for model in map(small_icnn_model, range(100))
        if (oracle.run(model, picture) != oracle.run(model, mask.cover(picture))).any()
    )


@pytest.fixture(scope="module")
def mask() -> Mask:
    visible = np.ones((12, 12), dtype=bool)
    visible[2:9, 3:8] = False
    return Mask("window", visible)


@pytest.fixture(scope="module")
def covered(shared: Town, model: QuantisedModel, mask: Mask) -> Town:
    plain = stored(model)
    shared.outsource(StoredModel(model, replace(plain.card, mask=mask.digest)), NAME)
    return shared


@pytest.fixture
def files(tmp_path: Path, mask: Mask) -> tuple[Path, Path]:
    """A picture and the mask."""
    Image.fromarray(pixels()[0]).save(tmp_path / "picture.png")
    (tmp_path / "window.png").write_bytes(mask.to_png())
    return tmp_path / "picture.png", tmp_path / "window.png"


def expected(model: QuantisedModel, mask: Mask) -> list[int]:
    return [int(each) for each in oracle.run(model, mask.cover(pixels()))]


def test_the_answer_is_the_oracles_on_the_covered_picture(
    covered: Town, model: QuantisedModel, mask: Mask, files: tuple[Path, Path]
) -> None:
    picture, cover = files
    done = covered.twinveil("classify", str(picture), "--model", NAME, "--mask", str(cover), "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["vector"] == expected(model, mask)


def test_the_gateway_covers_too(
    covered: Town, model: QuantisedModel, mask: Mask, files: tuple[Path, Path]
) -> None:
    picture, cover = files
    asked = Asked(file=picture.read_bytes(), model=NAME, mask=cover.read_bytes())
    cluster = covered.cluster
    with connect(cluster.me("user"), "user", cluster.addresses["user"]) as link:
        events = list(GatewayStub(link.channel).Classify(asked, timeout=60))
    assert list(events[-1].result.vector) == expected(model, mask)


def test_another_mask_or_none_costs_no_query(
    covered: Town, model: QuantisedModel, mask: Mask, files: tuple[Path, Path], tmp_path: Path
) -> None:
    picture, _ = files
    covered.outsource(stored(model), "whole")
    inverse, large = tmp_path / "inverse.png", tmp_path / "large.png"
    inverse.write_bytes(Mask("inverse", ~mask.visible).to_png())
    large.write_bytes(Mask("large", np.eye(16, dtype=bool)).to_png())
    for name, given, words in (
        (NAME, [], "knows covered pictures only: give its mask"),
        (NAME, ["--mask", str(inverse)], "is not the one of model"),
        (NAME, ["--mask", str(large)], "large.png is 16 x 16 pixels, not 12 x 12"),
        (
            "whole",
            ["--mask", str(inverse)],
            "trained on whole pictures: it goes with no mask",
        ),
    ):
        done = covered.twinveil("classify", str(picture), "--model", name, *given)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode, done.stdout, len(lines)) == (2, "", 1)
        assert words in lines[0]
    with covered.client() as client, pytest.raises(BadInput, match="give its mask"):
        client.classify([picture], NAME)
    assert covered.running() == {"cloud_s1": 0, "cloud_s2": 0}
