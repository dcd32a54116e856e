"""Certificates out of date, and clocks that are wrong: whoever meets one reads which, and what to type."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.transport.tls import dated
from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.services.status import StatusServicer
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me, connect
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.server import ServerSettings, start

AUTHORITY = make_authority("test authority")
ENDED, EARLY, GOOD = (-20, -10), (10, 20), (-1, 10)
RENEW = "twinveil kits project.toml -o kits --renew"

Make = Callable[..., TlsFiles]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(role: str, name: str, dates: tuple[float, float]) -> TlsFiles:
        return dated(AUTHORITY, issue(AUTHORITY, role, name, tmp_path / role), *dates)

    return made


@contextmanager
def serving(files: TlsFiles | None) -> Iterator[str]:
    """Address of a cloud S2 with this certificate, or in plaintext."""
    server = start(
        ServerSettings("cloud_s2", "127.0.0.1:0", files, insecure_plaintext=files is None),
        [StatusServicer("cloud_s2")],
    )
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop(0)


def refusal(me: Me, address: str) -> str:
    with pytest.raises(PeerUnavailable) as refused, connect(me, "cloud_s2", address, 0.5):
        pass
    start_, _, reason = str(refused.value).partition(" answers, but mutual TLS fails: ")
    assert start_ == f"cloud_s2 at {address}"
    return reason


@pytest.mark.parametrize(
    ("role", "name", "dates", "words"),
    [
        ("user", "alice", ENDED, f"it has to be renewed, by {RENEW} user-alice"),
        ("cloud_s1", "clinic", ENDED, f"it has to be renewed, by {RENEW} cloud_s1"),
        ("user", "alice", EARLY, "set this machine's clock"),
    ],
)
def test_ones_own_dates_are_seen_before_anybody_is_called(
    make: Make, role: str, name: str, dates: tuple[float, float], words: str
) -> None:
    mine = make(role, name, dates)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with (
            pytest.raises(BadConfiguration) as refused,
            connect(Me(role, name, mine), "cloud_s2", address, 0.5),
        ):
            pass
        nobody.settimeout(0.2)
        with pytest.raises(TimeoutError):
            nobody.accept()
    assert str(refused.value).startswith(f"{mine.certificate} {'begins' if dates is EARLY else 'ended'} 20")
    assert f", and here it is {datetime.now(UTC):%Y-%m-%d %H}" in str(refused.value)
    assert str(refused.value).endswith(words)


def test_an_authority_that_has_ended_is_not_renewed(tmp_path: Path) -> None:
    ended = make_authority(days=-1)
    mine = issue(ended, "user", "alice", tmp_path)
    with (
        pytest.raises(BadConfiguration, match=r"authority\.pem ended 20.*: .* all kits have to be made anew"),
        connect(Me("user", "alice", mine), "cloud_s2", "127.0.0.1:1", 0.5),
    ):
        pass


@pytest.mark.parametrize(
    ("dates", "begin", "end"),
    [
        (ENDED, "its certificate has ended, by this machine's clock (20", f"renew it by {RENEW} cloud_s2"),
        (EARLY, "its certificate has not begun, by this machine's clock (20", "where the kits were made"),
    ],
)
def test_a_peers_dates_are_said_exactly(make: Make, dates: tuple[float, float], begin: str, end: str) -> None:
    me = Me("user", "alice", make("user", "alice", GOOD))
    with serving(make("cloud_s2", "clinic", dates)) as address:
        reason = refusal(me, address)
    assert reason.startswith(begin)
    assert reason.endswith(end)


@pytest.mark.parametrize("dates", [ENDED, EARLY])
def test_a_peer_whose_clock_is_another(
    make: Make, dates: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In date here, not there."""
    me = Me("user", "alice", make("user", "alice", dates))
    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(sum(dates) / 2))
    monkeypatch.setattr("twinveil.transport.credentials.datetime", clock)
    with serving(make("cloud_s2", "clinic", GOOD)) as address:
        reason = refusal(me, address)
    assert reason.startswith(f"it does not take {me.tls.certificate}: ")
    assert f"is the clock right there (here it is {clock.now(UTC):%Y-%m-%d %H}" in reason


def test_other_reasons_are_told_apart(make: Make, tmp_path: Path) -> None:
    mine = make("user", "alice", GOOD)
    me = Me("user", "alice", mine)
    with serving(issue(make_authority(), "cloud_s2", "clinic", tmp_path / "other")) as address:
        assert refusal(me, address).startswith(
            f"its certificate comes from another authority than {mine.authority}: "
        )
    with serving(None) as address:
        assert refusal(me, address) == "it speaks no TLS: set both sides to TLS"
    with serving(make("cloud_s2", "clinic", GOOD)) as address:
        assert refusal(Me("user", "alice", None), address) == (
            "it wants TLS: give --tls FOLDER in place of --insecure-plaintext"
        )


@pytest.mark.parametrize(("verbosity", "shown"), [({}, False), ({"GRPC_VERBOSITY": "INFO"}, True)])
def test_grpcs_own_lines_stay_away_unless_they_are_wanted(
    make: Make, verbosity: dict[str, str], shown: bool
) -> None:
    mine = make("user", "alice", GOOD)
    with serving(make("cloud_s2", "clinic", ENDED)) as address:
        asked = subprocess.run(
            [sys.executable, "-m", "twinveil.cli", "models", f"--tls={mine.key.parent}"]
            + [f"--cloud-{cloud}={address}" for cloud in ("s1", "s2")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
            | {"TWINVEIL_CONNECT_WAIT": "500ms"}
            | verbosity,
        )
    assert asked.returncode == 5
    assert ("ssl_transport_security" in asked.stderr) is shown
    assert [line for line in asked.stderr.splitlines() if line.startswith("error: ")]
    if not shown:
        assert asked.stderr.count("mutual TLS fails") == 1
