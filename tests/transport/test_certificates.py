"""An authority on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twinveil.transport.certificates import load_authority, make_authority, save_authority


def test_an_authority_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one would be in the way of the next attempt, which makes none where a folder is."""
    authority, syncs = make_authority(), iter(range(100))

    def interrupted(_: int) -> None:
        if next(syncs) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_authority(authority, tmp_path / "authority")
    assert list(tmp_path.iterdir()) == []
    save_authority(authority, tmp_path / "authority")
    assert load_authority(tmp_path / "authority").pem() == authority.pem()
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "authority" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_an_authority_is_never_written_over(tmp_path: Path) -> None:
    first = make_authority()
    save_authority(first, tmp_path / "authority")
    with pytest.raises(OSError, match="not empty"):
        save_authority(make_authority(), tmp_path / "authority")
    assert load_authority(tmp_path / "authority").pem() == first.pem()
