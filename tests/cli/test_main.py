"""The command line as a person meets it: exit codes, one line for an error, verbs that spoil no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from twinveil.cli import main as cli
from twinveil.errors import NotAllowed, UnknownModel
from twinveil.start.boundary import guarded
from twinveil.verbs.serve import ROLES

pytestmark = pytest.mark.slow


def twinveil(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twinveil.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "100"} | environment,
    )


def test_help_lists_the_verbs() -> None:
    shown = twinveil("--help")
    assert shown.returncode == 0
    assert "serve" in shown.stdout
    assert "status" in shown.stdout
    assert "Traceback" not in shown.stderr


def test_version() -> None:
    assert twinveil("--version").stdout.startswith("twinveil ")


def test_an_unknown_verb_and_an_unknown_option() -> None:
    for arguments in (["nonsense"], ["status", "--nonsense"]):
        shown = twinveil(*arguments)
        assert shown.returncode == 2
        assert "nonsense" in shown.stderr
        assert "Traceback" not in shown.stderr


def test_what_was_typed_is_shown_without_what_acts_on_a_terminal() -> None:
    for arguments in (
        ["status", "x\x1b[31m\u202e.png"],
        ["x\x1b[31m\u202e"],
        ["serve", "user", "x\x1b[31m\u202e"],
    ):
        shown = twinveil(*arguments)
        assert shown.returncode == 2
        assert "x\\x1b[31m\\u202e" in shown.stderr
        assert shown.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["demo", "--images", "1_0"], "'1_0' is not a whole number"),
        (["demo", "--images=٣"], "'٣' is not a whole number"),
        (["demo", "--seed", "9" * 5000], "999' is not a whole number"),
        (["bench", "--bandwidth", "nan"], "'nan' is not a number"),
        (["preflight", ".", "--wait", "1e999"], "'1e999' is not a number"),
        (["mask", "train", "--runs", " 7"], "' 7' is not a whole number"),
        (["sealing", "pay", "--attempts", "1_0"], "'1_0' is not a whole number"),
        (["estimate", "--key-bits", "2_048"], "key sizes are numbers with commas between, not '2_048'"),
    ],
)
def test_numbers_have_one_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert run(monkeypatch, *arguments) == 2
    assert what in " ".join(capsys.readouterr().err.split())


def test_the_demo_refuses_a_key_before_it_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "demo", "--key-bits", "512", f"--folder={tmp_path / 'demo'}") == 2
    assert capsys.readouterr().err.startswith("error: a 512-bit key is refused")
    assert not (tmp_path / "demo").exists()


def test_status_without_anyone_there() -> None:
    addresses = [f"--{role}=127.0.0.1:1" for role in ("owner", "cloud-s1", "cloud-s2", "user")]
    shown = twinveil("status", "--insecure-plaintext", *addresses, TWINVEIL_CONNECT_WAIT="300ms")
    assert shown.returncode == 5
    assert shown.stderr.startswith("error: owner at 127.0.0.1:1 does not answer: is it running?")
    assert shown.stderr.count("\n") == 1


def test_status_without_credentials_says_how() -> None:
    shown = twinveil("status")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert "--tls FOLDER" in shown.stderr


@pytest.mark.parametrize("verb", [("status",), ("sealing", "serve")])
def test_a_folder_that_is_no_local_cluster_is_refused_in_the_same_words(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    shown = twinveil(*verb, "--cluster", str(tmp_path))
    assert shown.returncode == 2
    start = f"twinveil serve all --folder {tmp_path}"
    assert shown.stderr == f"error: {tmp_path} is no local cluster's folder: start one with {start}\n"


@pytest.mark.parametrize("role", ["owner", "cloud_s1", "cloud_s2", "user"])
def test_serve_passes_options_on(role: str) -> None:
    shown = twinveil("serve", role, "--listen", "nowhere", "--insecure-plaintext")
    assert shown.returncode == 2
    assert (
        shown.stderr
        == "error: --listen: 'nowhere' is no address: write HOST:PORT, such as 127.0.0.1:7001 or [::1]:7001\n"
    )


@pytest.mark.parametrize("role", ROLES)
def test_serve_shows_the_options_of_a_role(role: str) -> None:
    shown = twinveil("serve", role, "--help").stdout
    assert shown.split()[:4] == ["Usage:", "twinveil", "serve", role]
    assert "--listen" in shown


@pytest.mark.parametrize("role", ["cloud_s2", "owner.sealing"])
def test_a_role_started_by_its_module_names_the_command_to_type(role: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-P", "-m", role, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"Usage: twinveil serve {role.rpartition('.')[2]} [OPTIONS]" in shown.stdout


def test_an_old_verb_goes_on_and_the_new_one_is_said(tmp_path: Path) -> None:
    shown = twinveil("provision", "--cluster", str(tmp_path / "dask"))
    assert (shown.returncode, shown.stdout.startswith(f"Carry {tmp_path}/dask to ")) == (0, True)
    assert shown.stderr.splitlines() == [
        "twinveil provision is now twinveil kits; the old name goes with the next release",
        "--cluster is now --dask; the old name goes with the next release",
    ]
    assert (tmp_path / "dask" / "key.pem").exists()
    assert "provision" not in twinveil("--help").stdout


def verbs(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    known = [EntryPoint(name, target, cli.GROUP) for name, target in targets.items()]

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        return [entry for entry in known if name in (None, entry.name)]

    monkeypatch.setattr(cli, "entry_points", found)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["twinveil", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_broken_verb_says_so_and_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs(monkeypatch, train="no_such_module_at_all:train", status="twinveil.verbs.status:status")
    assert run(monkeypatch, "--help") == 0
    assert "not available here" in capsys.readouterr().out
    assert run(monkeypatch, "train", "--epochs", "3") == 2
    assert (
        "error: twinveil train is not available here: it needs no_such_module_at_all"
        in capsys.readouterr().err
    )
    assert run(monkeypatch, "status", "--help") == 0


def test_verbs_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    verbs(monkeypatch, zebra="a:b", status="a:b", train="a:b", demo="a:b", apple="a:b")
    assert cli.Verbs().list_commands(None) == ["demo", "train", "status", "apple", "zebra"]


def raising(error: BaseException) -> Any:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UnknownModel("no model\ndigits 3"), 4, "error: no model\\ndigits 3\n"),
        (NotAllowed("no"), 3, "error: no\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.png"),
            1,
            "error: a.png: No such file or directory\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_the_boundary(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str) -> None:
    assert guarded(raising(error)) == code
    assert capsys.readouterr().err == line


def test_an_unplanned_error_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(ZeroDivisionError("x"))) == 1
    assert capsys.readouterr().err.startswith("error: unexpected ZeroDivisionError: x")


def test_nothing_wrong_is_zero() -> None:
    assert guarded(lambda: None) == 0
    assert guarded(lambda: 7) == 7


def test_an_interrupted_verb_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: cli.Verbs, ctx: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cli.Verbs, "list_commands", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(monkeypatch, "--help") == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_every_verb_shows_its_help() -> None:
    def verbs(group: Any, *words: str) -> Iterator[tuple[str, ...]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command.context_settings.get("help_option_names") != []:  # else all options are passed on
                yield (*words, name)
            if hasattr(command, "list_commands"):
                yield from verbs(command, *words, name)

    found = list(verbs(typer.main.get_command(cli.app)))
    assert len(found) > 30
    for words in found:
        shown = CliRunner().invoke(cli.app, [*words, "--help"])
        assert (shown.exit_code, "Usage:" in shown.output) == (0, True), words
