"""A device: one name, one key, numbers that never repeat, and no way to let the key out by accident."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from twinveil.errors import BadInput, InvalidKey
from twinveil.sealing.device import Device
from twinveil.sealing.keys import ServerKeys, server_keys


def test_a_device_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = Device.open(tmp_path, "till-7")
    again = Device.open(tmp_path)
    assert (again.name, again.public_key) == ("till-7", first.public_key)
    assert [first.counter(), again.counter(), Device.open(tmp_path, "till-7").counter()] == [1, 2, 3]


def test_numbers_never_repeat_under_load(tmp_path: Path) -> None:
    device = Device.open(tmp_path, "till-7")
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: Device.open(tmp_path).counter(), range(60)))
    assert sorted(numbers) == list(range(1, 61))
    assert device.counter() == 61


def test_first_calls_at_once_make_one_device(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = {
            device.public_key for device in pool.map(lambda _: Device.open(tmp_path, "till-7"), range(8))
        }
    assert found == {Device.open(tmp_path).public_key}


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "../etc", "ä"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        Device.open(tmp_path, name)
    assert not (tmp_path / "name").exists()


def test_a_folder_has_one_device(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give it a name"):
        Device.open(tmp_path)
    Device.open(tmp_path, "till-7")
    with pytest.raises(BadInput, match="till-7, not till-8"):
        Device.open(tmp_path, "till-8")


def test_a_damaged_counter_is_said_and_not_reset(tmp_path: Path) -> None:
    device = Device.open(tmp_path, "till-7")
    device.counter()
    (tmp_path / "counter").write_text("many")
    with pytest.raises(BadInput, match="counter is damaged"):
        device.counter()


def test_a_damaged_key_is_said(tmp_path: Path) -> None:
    Device.open(tmp_path, "till-7")
    (tmp_path / "device.key").write_bytes(b"short")
    with pytest.raises(InvalidKey, match=r"device\.key is damaged"):
        Device.open(tmp_path)
    server_keys(tmp_path)
    (tmp_path / "sealing.keys").write_bytes(b"short")
    with pytest.raises(InvalidKey, match=r"sealing\.keys is damaged"):
        server_keys(tmp_path)


def test_keys_are_private_files_and_neither_printed_nor_pickled(tmp_path: Path) -> None:
    device, keys = Device.open(tmp_path, "till-7"), server_keys(tmp_path)
    for name in ("device.key", "sealing.keys"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert repr(keys) == "ServerKeys()"
    assert "key" not in repr(device)
    for secret in (device, keys):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(secret)


def test_a_server_has_the_same_keys_after_a_restart(tmp_path: Path) -> None:
    first, again = server_keys(tmp_path), server_keys(tmp_path)
    assert first.public == again.public
    assert first.storage == again.storage
    assert first.public != ServerKeys.make().public
