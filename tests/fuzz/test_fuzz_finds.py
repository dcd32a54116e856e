"""What fuzzing found: malformed files and messages that once ended in other than a planned error."""

from __future__ import annotations

import json
import sqlite3
import ssl
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from owner.catalogue import CatalogueEntry
from tests.fuzz.fuzz_disk import PROJECT, _networks, _rehearsals, _studies, _views
from tests.security.world import tiny_plan
from twinveil.errors import BadConfiguration, BadInput, BadPlan, TwinveilError
from twinveil.kits.making import AUTHORITY, TLS, make_kits
from twinveil.kits.project import read_project
from twinveil.params import Params
from twinveil.preflight import here
from twinveil.preflight.kit import open_kit
from twinveil.protocol.model.layout import Layouts
from twinveil.rpc.inference_pb2 import AnswerHalf
from twinveil.sealing.device import Device
from twinveil.sealing.server.store import Store
from twinveil.start import config
from twinveil.transport.address import Ready, check
from twinveil.transport.certificates import issue, load_authority, make_authority
from twinveil.transport.credentials import TlsFiles, read
from user.client import _figures

DEEP, LONG = "[" * 3000, "9" * 5000


@pytest.mark.parametrize("value", [DEEP, LONG])
def test_toml_that_is_too_deep_or_has_too_long_a_number(value: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(f"max_calls = {value}")
    with pytest.raises(BadConfiguration):
        config.read_toml(tmp_path / "settings.toml")


def test_a_size_of_too_many_digits() -> None:
    with pytest.raises(BadConfiguration):
        config.size(LONG)


def test_an_address_that_is_no_text() -> None:
    with pytest.raises(BadConfiguration):
        check(7001)


def test_json_that_is_too_deep(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(DEEP)
    with pytest.raises(BadConfiguration):
        Ready.read(tmp_path / "ready.json")
    with pytest.raises(BadInput):
        CatalogueEntry.from_json(DEEP)
    with pytest.raises(BadInput):
        _figures(AnswerHalf(figures_json=DEEP))


def changed(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """One change in a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.update(began="yesterday"),
        lambda view: view.update(kind=7),
        lambda view: view.update(pictures=float("inf")),
        lambda view: view["events"][0].update(seconds=[]),
        lambda view: view["events"][2]["mask"].update(bits="wide"),
    ],
)
def test_views_whose_fields_are_of_another_type(
    change: Callable[[dict[str, object]], object], tmp_path: Path
) -> None:
    load = _views(tmp_path)
    changed(tmp_path / "cloud_s1" / "1" / "view.json", change)
    with pytest.raises(BadInput):
        load()


@pytest.mark.parametrize("wrong", [{"begin": []}, {"end": "x"}, {"pixels": "zz"}, {"shape": [2, 2]}])
def test_asked_pictures_of_another_type(wrong: dict[str, object], tmp_path: Path) -> None:
    load = _views(tmp_path)
    changed(tmp_path / "pictures.json", lambda content: content["pictures"][0].update(wrong))
    with pytest.raises(BadInput):
        load()


def test_views_of_a_rehearsal_that_do_not_unpack(tmp_path: Path) -> None:
    load = _rehearsals(tmp_path)
    file = tmp_path / "views.npz"
    with zipfile.ZipFile(file) as whole:
        first = whole.infolist()[0]
    data = bytearray(file.read_bytes())
    begin = first.header_offset + 30 + len(first.filename) + 20
    data[begin : begin + 20] = bytes([255] * 20)
    file.write_bytes(bytes(data))
    with pytest.raises(BadInput):
        load()


@pytest.mark.parametrize("name", ["study.json", "selection.json"])
def test_a_study_of_masks_that_is_too_deep(name: str, tmp_path: Path) -> None:
    load = _studies(tmp_path)
    (tmp_path / name).write_text(DEEP)
    with pytest.raises(BadInput):
        load()


def test_a_sealing_network_of_infinite_size(tmp_path: Path) -> None:
    load = _networks(tmp_path)
    changed(tmp_path / "recogniser" / "network.json", lambda network: network.update(side=float("inf")))
    with pytest.raises(BadPlan):
        load()


def test_a_device_without_a_readable_name(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"\xd0")
    with pytest.raises(BadInput):
        Device.open(tmp_path)


def test_a_damaged_sealing_store(tmp_path: Path) -> None:
    file, key = tmp_path / "sealing.sqlite", bytes(32)
    with closing(Store(file, key)) as store:
        store.register_device("till-7", bytes(32))
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + bytes([255]) * (len(whole) - 4096))
    with closing(Store(file, key)) as store, pytest.raises(BadInput):
        store.device_key("till-7")


def test_a_sealing_store_that_does_not_open_is_not_left_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened it next waited for ten seconds."""
    file, made = tmp_path / "sealing.sqlite", []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: made.append(connect(*a, **k)) or made[-1])
    file.write_bytes(b"SQLite format 3\0" + bytes(4080))
    with pytest.raises(BadInput):
        Store(file, bytes(32))
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_a_certificate_of_an_unknown_version(tmp_path: Path) -> None:
    tls = issue(make_authority(), "user", "alice", tmp_path)
    der = ssl.PEM_cert_to_DER_cert(tls.certificate.read_text())
    third = bytes.fromhex("a003020102")
    tls.certificate.write_text(ssl.DER_cert_to_PEM_cert(der.replace(third, third[:-1] + b"\x22", 1)))
    with pytest.raises(BadConfiguration):
        read(tls)


def with_unknown_key(certificate: Path) -> None:
    """A certificate whose key is of an algorithm that nobody knows."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    elliptic = bytes.fromhex("06072a8648ce3d0201")
    assert elliptic in der
    certificate.write_text(ssl.DER_cert_to_PEM_cert(der.replace(elliptic, elliptic[:-1] + b"\x55")))


def test_certificates_with_keys_of_unknown_algorithms(tmp_path: Path) -> None:
    (tmp_path / "project.toml").write_text(PROJECT)
    make_kits(read_project(tmp_path / "project.toml"), tmp_path / "kits")
    kit, tls = tmp_path / "kits" / "cloud_s1", TlsFiles.in_folder(tmp_path / "kits" / "cloud_s1" / TLS)
    with_unknown_key(tls.authority)
    findings = list(here.certificates(open_kit(kit), tls))
    assert any(finding.check == "authority" and "another authority" in finding.seen for finding in findings)
    with_unknown_key(tls.certificate)
    with pytest.raises(BadConfiguration):
        read(tls)
    with_unknown_key(tmp_path / "kits" / AUTHORITY / "authority.pem")
    with pytest.raises(BadConfiguration):
        load_authority(tmp_path / "kits" / AUTHORITY)


def test_a_layout_with_masks_wider_than_its_key() -> None:
    with pytest.raises(TwinveilError):
        _ = Layouts(tiny_plan(), Params(sigma=10**6), ("textbook",)).digest
