"""A variable works wherever its flag does, in every verb; one that nothing reads stops nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from twinveil.cli import reach
from twinveil.cli.main import app
from twinveil.errors import BadConfiguration
from twinveil.start.config import settle
from twinveil.start.local_folder import settle_near
from twinveil.start.settings import EVERY_SETTING, OwnerSettings, UserSettings
from user.contact import Contact

NAMED = EVERY_SETTING | {"config", "cluster"}
SETTLED = {"status", "unseal"}
"""Verbs that read the environment themselves, as with_settings does for the others."""
OTHER = {
    ("train", "name"): "a model's",
    ("outsource", "name"): "a model's",
    ("kits", "dask"): "a new folder, for certificates",
    ("bench", "config"): "other hosts are measured only where it is said",
    ("kits", "fingerprint"): "written into kits: never by accident",
    ("audit inversion", "key_bits"): "of a key that is made for it alone",
}
"""Options that share a setting's name and mean something else."""


def options(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        verb = f"{path} {name}".strip()
        if hasattr(command, "list_commands"):
            yield from options(command, verb)
        else:
            yield from ((verb, each) for each in command.params if each.param_type_name == "option")


def test_every_flag_that_names_a_setting_has_its_variable() -> None:
    without, checked = set(), 0
    for verb, option in options(typer.main.get_command(app)):
        if option.name not in NAMED or (verb, option.name) in OTHER or verb in SETTLED:
            continue
        checked += 1
        by_settings = getattr(option, "rich_help_panel", None) == reach.PANEL
        if not by_settings and option.envvar != f"TWINVEIL_{option.name.upper()}":
            without.add((verb, option.name))
    assert not without
    assert checked > 50


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    for role in ("owner", "user"):
        (tmp_path / "my cluster" / "tls" / role).mkdir(parents=True)
    return tmp_path / "my cluster"


def test_a_cluster_in_the_environment_tells_all_but_flags_and_other_variables_win(cluster: Path) -> None:
    environment = {"TWINVEIL_CLUSTER": str(cluster), "TWINVEIL_CLOUD_S1": "env:1", "TWINVEIL_OWNER": "env:1"}
    made = settle_near(UserSettings, {"owner": "flag:1"}, None, environment)
    assert (made.owner, made.cloud_s1) == ("flag:1", "env:1")
    assert made.cloud_s2 == f"file:{cluster}/run/cloud_s2.json"
    assert (made.tls, made.state, made.name) == (cluster / "tls" / "user", cluster / "user", "local")
    other = settle_near(OwnerSettings, {}, cluster, {"TWINVEIL_CLUSTER": "/nowhere"})
    assert other.tls == cluster / "tls" / "owner"


@pytest.mark.parametrize("flag", ["config", "tls", "insecure_plaintext"])
def test_a_flag_that_says_how_to_reach_the_others_leaves_the_cluster_out(
    cluster: Path, tmp_path: Path, flag: str
) -> None:
    (tmp_path / "kit.toml").write_text("insecure_plaintext = true\n", encoding="utf-8")
    said = {"config": str(tmp_path / "kit.toml"), "tls": str(tmp_path), "insecure_plaintext": True}
    made = settle_near(UserSettings, {flag: said[flag]}, None, {"TWINVEIL_CLUSTER": str(cluster)})
    assert made.cloud_s1 == "127.0.0.1:7001"


def test_a_variable_that_names_no_cluster_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"^TWINVEIL_CLUSTER: .* is no local cluster's folder"):
        settle_near(UserSettings, {}, None, {"TWINVEIL_CLUSTER": str(tmp_path)})


def test_python_calls_know_it_too(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINVEIL_CLUSTER", str(cluster))
    assert Contact.configured().owner == f"file:{cluster}/run/owner.json"


@pytest.mark.parametrize("verb", ["models", "status", "classify"])
def test_verbs_know_it(cluster: Path, verb: str) -> None:
    more = {"models": [], "status": ["--json"], "classify": ["x.png", "--model", "m"]}[verb]
    shown = subprocess.run(
        [sys.executable, "-m", "twinveil.cli", verb, *more],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"TWINVEIL_CLUSTER": str(cluster), "TWINVEIL_CONNECT_WAIT": "100ms"},
    )
    if verb == "classify":
        assert "x.png" in shown.stderr
    elif verb == "status":
        assert f"{cluster}/tls/user" in shown.stderr  # its certificate is missing, which is said first
    else:
        assert f"{cluster}/run/cloud_s1.json" in shown.stderr


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TWINVEIL_CLSTER", ": did you mean 'TWINVEIL_CLUSTER'?"),
        ("TWINVEIL_CONFG", ": did you mean 'TWINVEIL_CONFIG'?"),
        ("TWINVEIL_QQQQQQQQQQQQ", ""),
    ],
)
def test_an_unknown_variable_is_named_and_stops_nobody(
    caplog: pytest.LogCaptureFixture, variable: str, meant: str
) -> None:
    assert settle(UserSettings, "user", {}, {variable: "x"}, EVERY_SETTING).name == "main"
    [said] = [each.getMessage() for each in caplog.records]
    assert said == f"the environment variable {variable} is no setting{meant}"
