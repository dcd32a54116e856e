"""Files on disk as fuzzing targets: one file of a folder is mutated, and everything in it read again."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cloud_s1.models import ModelsS1
from cloud_s2.keys import own_key
from cloud_s2.models import ModelsS2
from owner.catalogue import CatalogueEntry, CatalogueFile
from owner.sealing.rig import Rig
from owner.sealing.unseal import opened
from owner.training.datasets import _idx, load_data_set
from tests.crypto.crypto_keys import secret_key
from tests.fuzz import mutate
from tests.fuzz.fuzz_files import PICTURE, Target, tiny_card
from tests.security.world import World, tiny_model, tiny_plan
from twinveil.errors import EnvelopeRefused
from twinveil.kits.making import AUTHORITY, CONFIG, TLS, make_kits
from twinveil.kits.project import read_project
from twinveil.kits.texts import settings_of
from twinveil.network.folder import find_model, load_float_tensors, load_model, save_model
from twinveil.pictures.masks import load_masks, load_model_mask
from twinveil.preflight import here
from twinveil.preflight.kit import open_kit
from twinveil.rehearsal.arrays import NAMES, load_views, save_views
from twinveil.rounds.observer import Masking, Topic
from twinveil.sealing import synthetic
from twinveil.sealing.device import Device
from twinveil.sealing.factors import factor_model
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import ServerKeys, server_keys
from twinveil.sealing.network_files import load_network, save_network
from twinveil.sealing.reasons import Refusal
from twinveil.sealing.server.store import Account, Store
from twinveil.services.keys import read_pin
from twinveil.start import config
from twinveil.start.settings import (
    EVERY_SETTING,
    CloudS1Settings,
    CloudS2Settings,
    DeviceSettings,
    OwnerSettings,
    SealingSettings,
    UserSettings,
)
from twinveil.transport import credentials
from twinveil.transport.address import Ready
from twinveil.transport.certificates import load_authority
from twinveil.transport.credentials import TlsFiles
from twinveil.views import collection
from twinveil.views.view import Event, View, write
from user.sealing.session import check_pin

PROJECT = """
name = "clinic"
insecure_small_key = true
[validity]
role_days = 30
[owner]
host = "127.0.0.1"
[cloud_s1]
host = "s1.example.org"
port = 7011
names = ["s1.example.net", "10.0.0.7"]
[cloud_s2]
host = "[::1]"
listen = "0.0.0.0"
key_bits = 512
[users.alice]
port = 7013
[users.bob]
"""
SETTINGS = {
    "cloud_s1": CloudS1Settings,
    "cloud_s2": CloudS2Settings,
    "owner": OwnerSettings,
    "user": UserSettings,
    "sealing": SealingSettings,
    "device": DeviceSettings,
}

Read = Callable[[], object]
Maker = Callable[[Path], Read]
"""Fills a folder and gives what reads it."""


def disk(folder: Path, world: World) -> Iterator[tuple[str, Target]]:
    """One target for each kind of file."""
    makers: dict[str, Maker] = {
        "project": _project,
        "kits": _kits,
        "settings": _settings,
        "ready-files": _ready_files,
        "pins": _pins,
        "secret-key-files": _secret_key,
        "model-files": _model,
        "stores": lambda place: _stores(place, world),
        "catalogue-files": _catalogue_files,
        "views": _views,
        "rehearsals": _rehearsals,
        "mask-files": _masks,
        "mask-studies": _studies,
        "data-sets": _data_sets,
        "sealed-files": _sealed,
        "sealing-networks": _networks,
        "sealing-state": _sealing_state,
        "device-state": _device,
    }
    for name, make in makers.items():
        place = folder / name
        place.mkdir()
        yield name, _target(place, make(place))


def _target(folder: Path, read: Read) -> Target:
    """Mutates one file; in half of the inputs its digest in other files goes with it."""
    read()  # what is not mutated is accepted
    kept = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def target(source: random.Random) -> None:
        path = source.choice(list(kept))
        changed = {path: mutate.of_file(path.suffix, kept[path], source)}
        if source.random() < 0.5:
            old, new = (hashlib.sha256(each).hexdigest().encode() for each in (kept[path], changed[path]))
            changed |= {other: data.replace(old, new) for other, data in kept.items() if old in data}
        for other, data in changed.items():
            other.write_bytes(data)
        try:
            read()
        finally:
            for found in folder.rglob("*"):
                if found.is_file() and found not in kept:
                    found.unlink()
            for other, data in kept.items():
                if other in changed or not other.is_file():
                    other.write_bytes(data)

    return target


def _project(folder: Path) -> Read:
    file = folder / "project.toml"
    file.write_text(PROJECT)
    return lambda: read_project(file)


def _kits(folder: Path) -> Read:
    """Configuration and certificates of every kit, and the authority."""
    file = folder.parent / "clinic.toml"
    file.write_text(PROJECT)
    make_kits(read_project(file), folder)
    roles = [path for path in sorted(folder.iterdir()) if path.name != AUTHORITY]

    def read() -> None:
        load_authority(folder / AUTHORITY)
        for path in roles:
            kit, tls = open_kit(path), TlsFiles.in_folder(path / TLS)
            settings_of(path / CONFIG)
            list(here.certificates(kit, tls))
            credentials.read(tls)

    return read


def _settings(folder: Path) -> Read:
    """Of all roles; what is under a role's table stands for itself, what is at the top for all."""
    files = {name: folder / f"{name}.toml" for name in SETTINGS}
    for name, file in files.items():
        file.write_text(f"""
log_level = "info"
max_calls = 8
connect_wait = "500ms"
[{name}]
listen = "127.0.0.1:7001"
insecure_plaintext = true
state = "state"
max_message = "4MiB"
""")

    def read() -> None:
        for name, kind in SETTINGS.items():
            config.settle(kind, name, {"config": os.fspath(files[name])}, {}, EVERY_SETTING)

    return read


def _ready_files(folder: Path) -> Read:
    file = folder / "cloud_s1.json"
    Ready("cloud_s1", "127.0.0.1", 7001, 1234).write(file)
    return lambda: Ready.read(file)


def _pins(folder: Path) -> Read:
    """S2's key, and the sealing server's keys."""
    file, sealing = folder / "cloud_s2.fingerprint", folder / "sealing.pin"
    keys = ServerKeys.make().public
    file.write_text(secret_key().public_key.fingerprint)
    sealing.write_text(keys.fingerprint)

    def read() -> None:
        read_pin(file)
        check_pin(sealing, keys, None)

    return read


def _secret_key(folder: Path) -> Read:
    file = folder / "secret_key.json"
    secret_key().save(file)
    return lambda: own_key(file, None, insecure_small_key=True)


def _model(folder: Path) -> Read:
    model = folder / "models" / "tiny@1"
    floats = {"conv.weight": np.ones((2, 1, 2, 2), np.float32)}
    save_model(model, tiny_model(), tiny_card(), floats)

    def read() -> None:
        found = find_model("tiny", folder)
        load_model(found)
        load_model_mask(found)
        load_float_tensors(found)

    return read


def _stores(folder: Path, world: World) -> Read:
    """Models of both clouds."""
    for cloud in ("s1", "s2"):
        for file in (world.root / cloud / "tiny@1").iterdir():
            place = folder / cloud / "tiny@1" / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())

    def read() -> None:
        first, second = ModelsS1(folder / "s1"), ModelsS2(folder / "s2")
        for record in first.store.records():
            first.load(record, world.public)
        for record in second.store.records():
            second.load(record.import_id)
        for models in (first, second):
            models.store.find("tiny", "1")

    return read


def _catalogue_files(folder: Path) -> Read:
    catalogue = CatalogueFile(folder)
    fingerprint = secret_key().public_key.fingerprint
    with catalogue.adding(
        CatalogueEntry("tiny", "1", tiny_plan(), tiny_card(), ("packed",), False, fingerprint, bytes(16))
    ):
        pass
    [file] = folder.rglob("*.json")

    def read() -> None:
        catalogue.all()
        CatalogueEntry.from_json(file.read_text(errors="replace"))

    return read


def _views(folder: Path) -> Read:
    """A query as both clouds saw it, and what the user asked."""
    topic = Topic("query", tiny_plan(), "packed", 1, secret_key().public_key.n, 40)
    values = np.arange(32, dtype=np.uint8).reshape(4, 8)
    for role in ("cloud_s1", "cloud_s2"):
        events = [
            Event("half", "image", 0.1, 0, 64, None, {"values": values}),
            Event("received", "masked_sums", 0.2, 32, 0, None, {"ciphertexts": values.reshape(-1)}),
            Event("decrypted", "conv", 0.3, 0, 64, Masking(40), {"values": values}),
        ]
        write(View(role, 1e9, topic, events), folder / role / "1")
    picture = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    collection.write_pictures(folder, [collection.asked(1e9, 1e9 + 1, "a", "b", picture)])

    def read() -> None:
        found = collection.load(folder)
        for view in found.views:
            view.kind()
        list(found.matched)

    return read


def _rehearsals(folder: Path) -> Read:
    file = folder / "views.npz"
    row: dict[str, npt.NDArray[np.generic]] = {name: np.arange(8, dtype=np.uint8) for name in NAMES}
    for whose in ("s1", "s2", "unmasked"):
        row[f"{whose}_shares"] = np.arange(8, dtype=np.uint32)
        row[f"{whose}_picture"] = np.ones((1, 2, 4), np.uint32)
    row |= {half: np.ones((1, 2, 4), np.uint8) for half in ("s1_half", "s2_half")}
    save_views(file, [row | {"key_bits": np.asarray(512), "vector": np.arange(3)}])
    return lambda: load_views(file)


def _masks(folder: Path) -> Read:
    for number, kind in enumerate(("PNG", "PPM", "BMP", "TIFF")):
        visible = np.full((8, 8), 255, np.uint8)
        visible[number, :3] = 0
        suffix = {"PPM": "pgm", "TIFF": "tif"}.get(kind, kind.lower())
        Image.fromarray(visible).save(folder / f"{number}.{suffix}", kind)
    return lambda: load_masks(folder, (8, 8))


def _studies(folder: Path) -> Read:
    """What is read of a study before anything is trained or recognised; torch is loaded for that, so late."""
    settings = {"data": "orl", "image_shape": [1, 32, 32], "test_each": 3, "repair_data": "", "runs": 5}
    settings |= {"first_seed": 1, "recogniser": {"width": 8}, "repair": {"width": 8}}
    row = {"digest": "0" * 64, "third": {"mean": 12.5}}
    selection = {"masks": [row], "targets": ["m1"], "simple_targets": ["m1"], "nearest": ["m1"], "empty": {}}
    pictures = {"class_names": ["s1", "s2"], "polarity": "any", "digest": "0" * 64}
    study = {"settings": settings, "masks": {"m1": "0" * 64}, "pictures": pictures}
    (folder / "study.json").write_text(json.dumps(study))
    (folder / "selection.json").write_text(json.dumps({"selection": selection}))

    def read() -> None:
        from owner.masks.results import read_known
        from owner.masks.study import _read

        _read(folder)
        read_known(folder)

    return read


def _data_sets(folder: Path) -> Read:
    """A folder of pictures, and a file of the format that MNIST came in."""
    for kind in ("a", "b"):
        for number in range(2):
            file = folder / "pictures" / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PICTURE)
    idx = folder / "idx.gz"
    idx.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3]) + bytes(18)))

    def read() -> None:
        _idx(idx, 3)
        load_data_set(os.fspath(folder / "pictures"), (1, 8, 8))

    return read


def _sealed(folder: Path) -> Read:
    networks = folder.parent / "networks"
    save_network(networks, synthetic.variational())
    (folder.parent / "rig").mkdir()
    rig, file = Rig.make(folder.parent / "rig"), folder / "photo.sealed"
    file.write_bytes(rig.seal())

    def read() -> None:
        try:
            opened(file.read_bytes(), rig.keys, rig.store, networks)
        except Refusal as refusal:
            raise EnvelopeRefused(str(refusal.reason)) from None

    return read


def _networks(folder: Path) -> Read:
    save_network(folder / "variational", synthetic.variational())
    save_network(folder / "recogniser", synthetic.recogniser())

    def read() -> None:
        factor_model(load_network(folder / "variational"))
        Recogniser(load_network(folder / "recogniser"))

    return read


def _sealing_state(folder: Path) -> Read:
    """The server's keys, and its store as it lies on disk after a clean end."""

    def store() -> Store:
        return Store(folder / "sealing.sqlite", server_keys(folder).storage)

    with closing(store()) as made:
        made.register_device("till-7", bytes(32))
        made.put_account(Account("alice", (1, 2, 3), "00", "card", b""))

    def read() -> None:
        with closing(store()) as found:
            found.device_key("till-7")
            found.account("alice")
            found.book_miss("alice", 0, 0, 10)

    return read


def _device(folder: Path) -> Read:
    Device.open(folder, "till-7").counter()

    def read() -> None:
        Device.open(folder).counter()

    return read
