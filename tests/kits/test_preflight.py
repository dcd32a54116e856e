"""Preflight: every kind of failure is seen against live peers, and says what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kits.breaks import FAILURES, Break
from tests.kits.deployment import KEY, PEERS, Deployment
from twinveil.crypto.native import level as levels
from twinveil.errors import BadConfiguration
from twinveil.garbling import primitives
from twinveil.garbling.native.gates import Native
from twinveil.garbling.portable import Portable
from twinveil.kits.making import make_kits
from twinveil.kits.project import Project
from twinveil.native import VARIABLE
from twinveil.preflight import here
from twinveil.preflight.kit import open_kit
from twinveil.transport.certificates import issue, load_authority


@pytest.fixture
def deployment(project: Project, kits: Path) -> Iterator[Deployment]:
    made = Deployment(project, kits)
    with closing(made.running):
        yield made


def test_all_is_well(deployment: Deployment) -> None:
    make_kits(deployment.project, deployment.kits, KEY.hex())
    deployment.serve(*PEERS)
    found = deployment.look()
    assert [each for each in found.values() if each.state != "ok"] == []
    for part in (
        "port ",
        "certificate",
        "key file",
        "pinned key",
        "free memory",
        "free disk",
        "cloud_s2: clock",
    ):
        assert any(check.startswith(part) for check in found), part


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.__name__)
def test_a_failure_is_seen_and_says_what_to_do(
    deployment: Deployment, case: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.preflight.peers.TCP_SECONDS", 0.5)
    check = case(deployment)
    seen, remedy = FAILURES[case]
    report = deployment.look()
    found = report[check]
    assert found.state == "failure"
    assert seen in found.seen
    assert remedy in found.remedy
    for other in (
        "port",
        "certificate",
        "key file",
        "pinned key",
        "free memory",
        "state",
        *open_kit(deployment.kit).peers,
    ):
        assert any(check.startswith(other) for check in report), other


def test_near_the_end_is_a_note(deployment: Deployment) -> None:
    issue(load_authority(deployment.kits / "authority"), "user", "alice", deployment.kit / "tls", days=10)
    deployment.peers["owner"].said["twinveil_version"] = "0.0.9"
    deployment.serve("owner")
    found = deployment.look()
    for check in ("certificate's dates", "owner: version", "pinned key"):
        assert found[check].state == "note"
        assert found[check].remedy


def test_a_role_that_runs_holds_its_own_port(deployment: Deployment) -> None:
    deployment.serve("cloud_s1")
    deployment.kit = deployment.kits / "cloud_s1"
    member = deployment.project.members["cloud_s1"]
    assert deployment.look()[f"port {member.port}"].seen == "cloud_s1 runs here already"


@pytest.mark.parametrize(
    ("asked", "level", "state"),
    [("auto", "ifma", "ok"), ("off", "gmpy2", "note"), ("fast", "gmpy2", "failure")],
)
def test_a_cloud_says_what_it_computes_with(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, asked: str, level: str, state: str
) -> None:
    """Where it is slow, a person should know; the others have nothing to compute."""
    assert "arithmetic" not in deployment.look()
    deployment.kit = deployment.kits / "cloud_s1"
    monkeypatch.setenv(VARIABLE, asked)
    chosen = levels.level.__wrapped__ if asked == "fast" else lambda: level
    monkeypatch.setattr(levels, "level", chosen)
    monkeypatch.setattr(here, "level", chosen)
    found = deployment.look()["arithmetic"]
    assert (found.state, bool(found.remedy)) == (state, state != "ok")
    assert (asked if state == "failure" else level) in found.seen


@pytest.mark.parametrize(
    ("asked", "made", "state"),
    [("auto", Native, "ok"), ("off", Portable, "note"), ("fast", None, "failure")],
)
def test_a_cloud_says_how_it_garbles(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, asked: str, made: type | None, state: str
) -> None:
    assert "garbling" not in deployment.look()
    deployment.kit = deployment.kits / "cloud_s2"
    monkeypatch.setenv(VARIABLE, asked)
    monkeypatch.setattr(
        primitives, "implementation", (lambda: made) if made else primitives.implementation.__wrapped__
    )
    found = deployment.look()["garbling"]
    assert (found.state, bool(found.remedy)) == (state, state != "ok")
    assert (made.__name__.lower() if made else asked) in found.seen


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "is no kit"),
        ("name =", "no TOML"),
        ('name = "x"', "one table must name the role"),
        ("[owner]\n[user]", "one table must name the role"),
        ("[owner]\nlisten = 'x'", "listen: 'x' is no address"),
        ("[owner]\nmax_query = 1", "is no setting"),
    ],
)
def test_what_is_no_kit(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    with pytest.raises(BadConfiguration, match=words):
        open_kit(tmp_path)


def test_as_typed(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinveil.cli.main import main

    def typed(*more: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["twinveil", "preflight", str(deployment.kit), "--wait", "1", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    deployment.serve("cloud_s1", "cloud_s2")
    code, shown = typed()
    assert code == 1
    assert "not ready: 1 of" in shown
    assert "start it: twinveil serve owner" in shown.replace("\n", " ")
    deployment.serve("owner")
    code, shown = typed("--json")
    assert code == 0
    assert {each["state"] for each in json.loads(shown)} == {"ok", "note"}
    assert os.sep not in json.loads(shown)[0]["check"]
