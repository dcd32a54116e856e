"""Plaintext: only by the flag that says insecure, only on loopback, for every role and every verb."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from twinveil.cli.main import main
from twinveil.errors import BadConfiguration
from twinveil.start.role import run
from twinveil.start.settings import (
    CloudS1Settings,
    CloudS2Settings,
    OwnerSettings,
    RoleSettings,
    UserSettings,
)
from twinveil.transport.server import ServerSettings

KINDS: list[type[RoleSettings]] = [OwnerSettings, CloudS1Settings, CloudS2Settings, UserSettings]
ELSEWHERE = "192.0.2.1:7001"
OUTSIDE = ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"]

VERBS = {
    "models": ["models"],
    "remove": ["remove", "digits", "1"],
    "classify": ["classify", "PICTURE", "--model", "digits"],
    "status": ["status"],
}


def served(kind: type[RoleSettings], monkeypatch: pytest.MonkeyPatch, *flags: str) -> tuple[int, bool]:
    """Exit code of `python -m ROLE`, and whether it got as far as to build its services."""
    built: list[RoleSettings] = []

    def build(settings: RoleSettings) -> Sequence[object]:
        built.append(settings)
        raise BadConfiguration("far enough")

    monkeypatch.setattr(sys, "argv", [kind.role, *flags])
    code = run(kind, build)  # type: ignore[arg-type]
    return code, bool(built)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
@pytest.mark.parametrize("listen", [*OUTSIDE, "127.0.0.1:0"])
def test_no_role_serves_plaintext_unasked(
    kind: type[RoleSettings],
    listen: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "state"
    assert served(kind, monkeypatch, f"--listen={listen}", f"--state={state}") == (2, False)
    assert capsys.readouterr().err.startswith(f"error: {kind.role}: give either --tls FOLDER or --insecure")
    assert not state.exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
@pytest.mark.parametrize("listen", OUTSIDE)
def test_no_role_serves_plaintext_outside_loopback(
    kind: type[RoleSettings],
    listen: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--insecure-plaintext", f"--listen={listen}", f"--state={tmp_path / 'state'}"]
    assert served(kind, monkeypatch, *flags) == (2, False)
    assert "--insecure-plaintext on a loopback address" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_by_name_on_loopback_every_role_does(
    kind: type[RoleSettings], listen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ["--insecure-plaintext", f"--listen={listen}", f"--state={tmp_path / 'state'}"]
    assert served(kind, monkeypatch, *flags) == (2, True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
def test_neither_environment_nor_file_opens_more_than_the_flag(
    kind: type[RoleSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(
        "insecure_plaintext = true\nlisten = '0.0.0.0:0'\nstate = 'state'\n"
    )
    assert served(kind, monkeypatch, f"--config={tmp_path / 'config.toml'}") == (2, False)
    monkeypatch.setenv("TWINVEIL_INSECURE_PLAINTEXT", "true")
    assert served(kind, monkeypatch, "--listen=0.0.0.0:0", f"--state={tmp_path / 'state'}") == (2, False)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
def test_the_builders_of_real_roles_are_behind_that_check(kind: type[RoleSettings]) -> None:
    """`python -m ROLE` runs what is tested above."""
    source = Path(str(import_module(kind.role).__file__)).with_name("__main__.py").read_text()
    assert f"run({kind.__name__}, build)" in source
    with pytest.raises(BadConfiguration, match="on a loopback address"):
        ServerSettings(kind.role, "0.0.0.0:0", None, insecure_plaintext=True)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    return str(tmp_path / "x.png")


def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["twinveil", *arguments])
    for name in [name for name in os.environ if name.startswith("TWINVEIL_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_speaks_plaintext_to_another_machine(
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    picture: str,
    tmp_path: Path,
) -> None:
    arguments = [picture if each == "PICTURE" else each for each in VERBS[verb]]
    where = ["--cloud-s1", ELSEWHERE, "--cloud-s2", ELSEWHERE]
    where += ["--owner", ELSEWHERE] if verb in ("classify", "status") else []
    where += ["--user", ELSEWHERE] if verb == "status" else ["--state", str(tmp_path)]
    code, said = typed(monkeypatch, capsys, *arguments, "--insecure-plaintext", *where)
    assert code in (2, 5)
    assert f"plaintext to {ELSEWHERE} is refused: it is allowed on loopback only" in said


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_speaks_plaintext_unasked(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], picture: str
) -> None:
    arguments = [picture if each == "PICTURE" else each for each in VERBS[verb]]
    code, said = typed(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "--insecure-plaintext" in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)
@pytest.mark.heavy
def test_as_processes(kind: type[RoleSettings], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twinveil.cli", "serve", kind.role, "--insecure-plaintext"]
    command += ["--listen=0.0.0.0:0", f"--state={tmp_path / 'state'}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert "loopback" in shown.stderr
