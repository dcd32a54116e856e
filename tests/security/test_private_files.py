"""Whatever a role makes is for its own user alone: weights, pictures, views, records, pins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from owner.catalogue import CatalogueEntry, CatalogueFile
from owner.training.datasets import DataSet
from owner.training.held_out import write_held_out
from tests.crypto.crypto_keys import secret_key
from tests.fuzz.fuzz_disk import tiny_card
from tests.private import open_to_others
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.crypto.public_key import PublicKey
from twinveil.network.folder import save_model
from twinveil.rpc.keys_pb2 import GetPublicKeyReply
from twinveil.sealing import synthetic
from twinveil.sealing.device import Device
from twinveil.sealing.keys import server_keys
from twinveil.sealing.network_files import save_network
from twinveil.sealing.server.store import Account, Store
from twinveil.services.keys import PIN, KnownKey
from twinveil.views.collection import asked, write_pictures


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """A user whose files are everybody's unless somebody takes care."""
    before = os.umask(0)
    yield
    os.umask(before)


def trained(folder: Path) -> None:
    save_model(folder, tiny_model(), tiny_card(), {"w": np.zeros(3, np.float32)})
    save_model(folder, tiny_model(), tiny_card(), replace=True)


def held_out(folder: Path) -> None:
    pictures = np.zeros((2, 1, 8, 8), np.uint8)
    labels = np.array([0, 1])
    write_held_out(DataSet("two", pictures, labels, pictures, labels, ("a", "b"), "any"), folder)


def published(folder: Path) -> None:
    with CatalogueFile(folder).adding(
        CatalogueEntry("tiny", "1", tiny_plan(), tiny_card(), ("packed",), False, "ab" * 32, bytes(16))
    ):
        pass


def outsourced(folder: Path) -> None:
    World(folder).outsource(tiny_model())


def recorded(folder: Path) -> None:
    write_pictures(folder, [asked(0, 1, "a", "a", np.zeros((1, 8, 8), np.uint8))])


def pinned(folder: Path) -> None:
    key = secret_key(512).public_key
    KnownKey(folder / PIN, insecure_small_key=True).fetch(Serving(key))  # type: ignore[arg-type]


def sealing_networks(folder: Path) -> None:
    save_network(folder / "recogniser", synthetic.adversarial())


def sealing_server(folder: Path) -> None:
    store = Store(folder / "sealing.sqlite", server_keys(folder).storage)
    store.put_account(Account("alice", (1, 2), "00" * 32, "", b""))


def device(folder: Path) -> None:
    Device.open(folder, "till-7")


class Serving:
    """A channel to S2, as far as its key goes."""

    def __init__(self, key: PublicKey) -> None:
        self._key = key

    def unary_unary(self, *_: object, **__: object) -> Callable[..., object]:
        return lambda *_, **__: GetPublicKeyReply(jwk=json.dumps(self._key.to_jwk()))


@pytest.mark.parametrize(
    "make",
    [
        trained,
        held_out,
        published,
        outsourced,
        recorded,
        pinned,
        sealing_networks,
        sealing_server,
        device,
    ],
)
def test_what_a_role_makes_is_nobody_elses_to_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "above" / "folder")
    assert list((tmp_path / "above" / "folder").iterdir())
    assert open_to_others(tmp_path / "above") == []
