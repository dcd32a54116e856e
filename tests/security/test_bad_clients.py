"""Owners and users that send anything at all: both clouds see what they see of honest ones, and go on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from gmpy2 import mpz

from tests.networks import random_image, random_model
from tests.security.crafted import CRAFTED, crafted_model, crafted_query
from tests.security.ledger import Ledger
from tests.security.peers import Watching
from tests.security.settle import settle, settle_import, settle_textbook
from tests.security.world import OWNER, World, finish, tiny_model, tiny_plan
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.slots import pack
from twinveil.errors import PeerMismatch
from twinveil.halves.ring import picture_bytes
from twinveil.network import oracle
from twinveil.network.plan import Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.network.schedule import schedule
from twinveil.protocol.packed.geometry import placed

pytestmark = pytest.mark.slow

HEAVY = [pytest.param(kind, marks=pytest.mark.heavy) for kind in CRAFTED[3:]]
HEAVY_USERS = [pytest.param(kind, marks=pytest.mark.heavy) for kind in CRAFTED[1:]]


def watched(world: World) -> list[Watching]:
    peers: list[Watching] = []

    def watch(inner: object) -> Watching:
        peers.append(Watching(inner))  # type: ignore[arg-type]
        return peers[-1]

    world.wrap = watch
    return peers


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    world.outsource(tiny_model(), engines=("packed", "textbook"))
    return world


def shape_of_query(
    world: World, halves: tuple[bytes, bytes] | None, name: str = "tiny", engine: str = "packed"
) -> object:
    peers = watched(world)
    while world.queries1.stock.give_way():
        """The item is the first of its conversation: numbers in messages are as long as they are large."""
    answer = world.ask(world.query(tiny_plan(), halves=halves, name=name, engine=engine))
    return [peer.shape() for peer in peers if peer.kind != "open_items"], [len(half) for half in answer]


@pytest.mark.parametrize("halves", [(0, 0), (255, 255), (255, 0), (170, 85), (1, 254)])
def test_a_bad_user_looks_like_an_honest_one(honest: World, ledger: Ledger, halves: tuple[int, int]) -> None:
    """Whatever bytes it sends are halves of a picture, of pixels in their range."""
    size = picture_bytes(tiny_plan())
    bad = shape_of_query(honest, (bytes([halves[0]]) * size, bytes([halves[1]]) * size))
    settle(ledger, honest, tiny_plan())
    ledger.clear()
    assert bad == shape_of_query(honest, None)
    settle(ledger, honest, tiny_plan())


@pytest.mark.parametrize("kind", [CRAFTED[0], *HEAVY_USERS])
def test_a_bad_user_of_the_textbook_engine(honest: World, ledger: Ledger, kind: str) -> None:
    bad = shape_of_query(honest, crafted_query(kind, honest, tiny_plan()), engine="textbook")
    settle_textbook(ledger, honest, tiny_plan(), honest=False)
    ledger.clear()
    assert bad == shape_of_query(honest, None, engine="textbook")
    settle_textbook(ledger, honest, tiny_plan())


@pytest.mark.parametrize("kind", [*CRAFTED[:3], *HEAVY])
def test_a_bad_owner_looks_like_an_honest_one(tmp_path: Path, ledger: Ledger, kind: str) -> None:
    world, plan = World(tmp_path), tiny_plan()
    peers = watched(world)
    world.outsource(tiny_model())
    settle_import(ledger, world, plan, honest=True)
    ledger.clear()
    world.outsource(tiny_model(), crafted_model(kind, world, plan), name="bad")
    assert peers[0].shape() == peers[1].shape()
    settle_import(ledger, world, plan, honest=False)
    ledger.clear()
    assert shared_alike(world, "bad")
    world.ask(world.query(plan, np.full(plan.image_shape, 255, np.uint8), name="bad"))
    settle(ledger, world, plan)
    ledger.clear()
    assert shape_of_query(world, None, "bad") == shape_of_query(world, None, "tiny")


@pytest.mark.parametrize("kind", [CRAFTED[0], *HEAVY_USERS])
def test_a_bad_owner_of_the_textbook_engine(tmp_path: Path, ledger: Ledger, kind: str) -> None:
    world, plan, engines = World(tmp_path), tiny_plan(), ("textbook",)
    world.outsource(tiny_model(), crafted_model(kind, world, plan, "textbook"), "bad", engines)
    settle_import(ledger, world, plan, honest=False, engines=engines)


def shared_alike(world: World, name: str) -> bool:
    """E(K2) at S1 and K2 at S2 are the same integers modulo 2^L, whatever the owner sent."""
    record = world.models1.store.find(name, "1")
    at_s1 = world.models1.load(record, world.public).for_packed
    at_s2 = world.models2.load(record.import_id)[1].for_packed
    for node in record.plan.linear_nodes:
        layer = at_s1.layout.item.layers[node.name]
        for kept in (at_s1.kernels, at_s2.kernels):
            if (kept[node.name] >> np.uint64(layer.ring)).any():
                return False
        packed = []
        for chunk in range(layer.kernel.chunks):
            packed += pack(
                placed(at_s2.kernels[node.name], layer.kernel.weights(chunk), layer.ring), layer.slots.bits
            )
        if _decrypted(world.secret, at_s1.encrypted[node.name]) != packed:
            return False
    return True


def _decrypted(key: SecretKey, values: Iterable[mpz]) -> list[mpz]:
    """Without the ledger's notice."""
    n, phi = key.public_key.n, (key._p - 1) * (key._q - 1)
    return [(pow(c, phi, n * n) - 1) // n * pow(phi, -1, n) % n for c in values]


@pytest.mark.parametrize("weights", [-128, 127, 0])
@pytest.mark.parametrize("pixels", [0, 255])
def test_extremes_stay_in_their_slots(tmp_path: Path, ledger: Ledger, weights: int, pixels: int) -> None:
    world, model = World(tmp_path), tiny_model(weights)
    world.outsource(model)
    settle_import(ledger, world, model.plan, honest=True)
    ledger.clear()
    image = np.full(model.plan.image_shape, pixels, np.uint8)
    assert (world.classify(model, image) == oracle.run(model, image)).all()
    settle(ledger, world, model.plan)


@pytest.mark.parametrize("seed", range(3))
def test_random_networks_stay_in_their_slots(tmp_path: Path, ledger: Ledger, seed: int) -> None:
    world, model = World(tmp_path), random_model(seed, max_side=6, max_channels=2, max_layers=3)
    world.outsource(model)
    settle_import(ledger, world, model.plan, honest=True)
    ledger.clear()
    world.classify(model, random_image(model.plan, seed))
    settle(ledger, world, model.plan)


def test_plans_that_differ_are_refused(tmp_path: Path) -> None:
    world, model = World(tmp_path), tiny_model()
    halves = world.halves(model)
    header, other = world.header(model.plan), world.header(model.plan)
    other.import_id = header.import_id
    lie = Plan(model.plan.image_shape, 7, model.plan.nodes, 0)
    other.plan_json = lie.to_json()
    waiting = world.provision2.outsource(other, iter([halves[1]]), OWNER)
    next(waiting)
    before = world.secret.operations
    with pytest.raises(PeerMismatch):
        finish(world.provision1.outsource(header, iter([halves[0]]), OWNER))
    assert world.secret.operations == before


@pytest.mark.parametrize("engine", ["packed", "textbook"])
@pytest.mark.parametrize(("weight_bits", "accumulator_bits"), [(8, 10), (8, 8), (2, 5), (2, 2)])
def test_a_plan_that_is_too_narrow_wraps_and_nothing_else(
    tmp_path: Path, ledger: Ledger, weight_bits: int, accumulator_bits: int, engine: str
) -> None:
    """An owner who did not prove its widths gets wrong answers; nobody sees more, no error tells."""
    plan = Plan(
        (1, 3, 3),
        8,
        (
            Conv("conv", "image", 2, (2, 2), 1, 0, weight_bits, accumulator_bits),
            Relu("relu", "conv", 0, 8),
            MaxPool("pool", "relu", 2, 1, 0),
            Dense("dense", "pool", 2, weight_bits, accumulator_bits),
        ),
        0,
    )
    most = (1 << (weight_bits - 1)) - 1
    weights = {node.name: np.full(plan.weight_shape(node), most) for node in plan.linear_nodes}
    biases = {node.name: np.zeros(plan.weight_shape(node)[0], np.int64) for node in plan.linear_nodes}
    model, world = QuantisedModel(plan, weights, biases), World(tmp_path)
    world.outsource(model, engines=("packed", "textbook"))
    ledger.clear()
    image = np.full(plan.image_shape, 255, np.uint8)
    got: npt.NDArray[np.int64] = world.classify(model, image, engine)
    (settle if engine == "packed" else settle_textbook)(ledger, world, plan)
    half = 1 << (accumulator_bits - 1)
    assert ((got >= -half) & (got < half)).all()
    assert all(piece.share_bits in (0, 8, 10) for piece in schedule(plan).pieces.values())
