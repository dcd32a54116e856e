"""Options that verbs share, and progress where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from twinveil.cli import progress
from twinveil.cli.reach import with_settings
from twinveil.errors import BadConfiguration
from twinveil.start.settings import UserSettings

Ask = Callable[..., UserSettings]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Settings that a verb gets from a command line, the environment and a file."""
    seen: list[UserSettings] = []

    @with_settings(UserSettings, "owner", "cloud_s1", "tls", "insecure_plaintext", "state")
    def verb(settings: UserSettings, picture: Annotated[str, typer.Argument(help="A picture.")]) -> None:
        assert picture == "x.png"
        seen.append(settings)

    app = typer.Typer()
    app.command()(verb)

    def run(*arguments: str, **environment: str) -> UserSettings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, ["x.png", *arguments])
        if result.exception is not None:
            raise result.exception
        return seen[-1]

    return run


def test_flag_over_environment_over_file_over_default(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "twinveil.toml"
    file.write_text('tls = "from-file"\nowner = "file:9"\n[user]\ncloud_s1 = "file:9"\ncloud_s2 = "file:9"\n')
    made = ask("--config", str(file), "--owner", "flag:1", TWINVEIL_OWNER="env:1", TWINVEIL_CLOUD_S1="env:1")
    assert (made.owner, made.cloud_s1, made.cloud_s2, made.tls) == (
        "flag:1",
        "env:1",
        "file:9",
        tmp_path / "from-file",
    )
    assert made.name == "main"


def test_a_cluster_tells_all_but_flags_win(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "tls" / "user").mkdir(parents=True)
    made = ask("--cluster", str(tmp_path), "--cloud-s1", "flag:1", TWINVEIL_OWNER="env:1")
    assert made.cloud_s1 == "flag:1"
    assert made.owner == f"file:{tmp_path}/run/owner.json"
    assert (made.tls, made.state, made.name) == (tmp_path / "tls" / "user", tmp_path / "user", "local")


def test_it_must_be_said_how_to_reach_the_others(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="--cluster FOLDER"):
        ask()
    with pytest.raises(BadConfiguration, match="no local cluster's folder"):
        ask("--cluster", str(tmp_path))
    assert ask("--insecure-plaintext").tls is None


def test_progress_in_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SIGN_OF_LIFE_SECONDS", 1.5)
    with progress.steps("work") as step:
        step(1, 3, "first [bold]")
        time.sleep(1.2)
        step(2, 3, "second")
        time.sleep(2.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work (0 s)"
    assert lines[1] == "work: 1/3 first [bold] (1 s)"
    assert lines[2] == "work: 2/3 second (2 s)"
