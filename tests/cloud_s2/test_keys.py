"""S2's own key: how long a new one is, and that one that is there stays what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_s2.keys import own_key
from tests.crypto.crypto_keys import secret_key
from twinveil.crypto import keygen
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import InvalidKey
from twinveil.params import Params


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the keys that were made; a small one takes the place of each."""
    made: list[int] = []

    def generate(params: Params) -> SecretKey:
        made.append(params.key_bits)
        return secret_key(512)

    monkeypatch.setattr("cloud_s2.keys.generate", generate)
    return made


def test_a_new_key_has_3072_bits_unless_told_otherwise(tmp_path: Path, asked: list[int]) -> None:
    own_key(tmp_path / "first" / "secret_key.json", None)
    own_key(tmp_path / "second" / "secret_key.json", 2048)
    assert asked == [3072, 2048]


def test_a_key_that_is_there_is_used_as_it_is(tmp_path: Path, asked: list[int]) -> None:
    path = tmp_path / "secret_key.json"
    key = keygen.generate(Params(2048))
    key.save(path)
    before = path.read_bytes()
    for bits in (None, 2048):
        assert own_key(path, bits).public_key == key.public_key
    with pytest.raises(
        InvalidKey, match="holds a key of 2048 bits, key_bits asks for 3072: leave key_bits out"
    ):
        own_key(path, 3072)
    assert path.read_bytes() == before
    assert asked == []


def test_a_small_key_is_used_only_where_that_is_allowed(tmp_path: Path, asked: list[int]) -> None:
    path = tmp_path / "secret_key.json"
    secret_key(512).save(path)
    with pytest.raises(InvalidKey, match="a 512-bit key is refused"):
        own_key(path, None)
    assert own_key(path, None, insecure_small_key=True).public_key.bits == 512
    for bits in (0, 512):
        with pytest.raises(InvalidKey, match=f"a {bits}-bit key is refused"):
            own_key(tmp_path / "new.json", bits)
    assert asked == []
