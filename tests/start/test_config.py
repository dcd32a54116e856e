"""Settings: flag over environment over file over default, and every wrong one named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from twinveil.errors import BadConfiguration
from twinveil.start.command_line import load
from twinveil.start.config import duration, number, path, setting, settle, size, truth
from twinveil.start.settings import EVERY_SETTING, CloudS1Settings, CloudS2Settings, UserSettings
from twinveil.verbs.serve_all import cluster_options

READ = """
import sys
from pathlib import Path
from twinveil.start.config import read_toml
print(ascii(read_toml(Path(sys.argv[1]))["state"]))
"""

FILE = """
log_level = "error"
max_calls = 7
[cloud_s1]
max_calls = 9
grace = "500ms"
[user]
max_message = "1MiB"
"""


RENAMED = {"cluster": "dask", "cluster_tls": "dask_tls"}


def settings(argv: list[str], environment: dict[str, str] | None = None) -> CloudS1Settings:
    return load(CloudS1Settings, "cloud_s1", argv, environment or {}, EVERY_SETTING)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "twinveil.toml"
    path.write_text(FILE)
    return path


def test_defaults() -> None:
    made = settings([])
    assert (made.listen, made.max_calls, made.log_level, made.tls) == ("127.0.0.1:7001", 64, "info", None)
    with pytest.raises(FrozenInstanceError):
        made.listen = "x"  # type: ignore[misc]


def test_flag_over_environment_over_file_over_default(file: Path) -> None:
    config = ["--config", str(file)]
    environment = {"TWINVEIL_MAX_CALLS": "11", "TWINVEIL_CONFIG": "/nowhere", "PATH": "/bin"}
    assert settings(config).max_calls == 9
    assert settings(config).grace == 0.5
    assert settings(config).log_level == "error"
    assert settings(config, environment).max_calls == 11
    assert settings([*config, "--max-calls=13"], environment).max_calls == 13
    assert load(CloudS2Settings, "cloud_s2", config, {}, EVERY_SETTING).max_calls == 7
    assert (
        load(UserSettings, "user", [], {"TWINVEIL_CONFIG": str(file)}, EVERY_SETTING).max_message == 1 << 20
    )


def test_settings_of_other_roles_may_stand_in_the_environment() -> None:
    assert settings([], {"TWINVEIL_KEY_BITS": "3072"}).role == "cloud_s1"


def test_no_key_size_is_asked_for_unless_somebody_does() -> None:
    """By a setting that always had a value, S2 would refuse the shorter key that it has had for years."""
    told = cluster_options(None, False)["cloud_s2"]
    assert load(CloudS2Settings, "cloud_s2", [*told], {}, EVERY_SETTING).key_bits is None
    told = cluster_options(2048, False)["cloud_s2"]
    assert load(CloudS2Settings, "cloud_s2", [*told], {}, EVERY_SETTING).key_bits == 2048
    shown = load(CloudS2Settings, "cloud_s2", [], {"TWINVEIL_KEY_BITS": "4096"}, EVERY_SETTING)
    assert shown.key_bits == 4096


@pytest.mark.parametrize(
    ("argv", "environment", "content", "match"),
    [
        (["--listne", "x"], {}, "", r"^No such option: --listne .*\(--help lists the options\)$"),
        (["--listen"], {}, "", r"'--listen' requires an argument"),
        (["--liste", "x"], {}, "", r"No such option: --liste"),
        (["picture.png"], {}, "", r"unexpected extra argument.*picture\.png"),
        (["--insecure-plaintext=yes"], {}, "", r"--insecure-plaintext"),
        (["--dask", "tcp://host:8786"], {}, "", r"--dask: must be tls://HOST:PORT.* over TLS only"),
        (["--dask", "tls://host"], {}, "", r"--dask: 'host' is no address"),
        (["--listen", "nowhere"], {}, "", r"--listen: 'nowhere' is no address"),
        (["--listen", "host:99999"], {}, "", r"--listen: .* is no address"),
        (["--max-calls", "0"], {}, "", r"--max-calls: must be from 1"),
        (["--max-calls", str(1 << 31)], {}, "", r"--max-calls: must be from 1 to 65536"),
        (["--workers", str(1 << 31)], {}, "", r"--workers: must be from 0 to 4096"),
        (["--max-message", "1024GiB"], {}, "", r"--max-message: must be a size .* at most \"1GiB\""),
        (["--prepare", "65"], {}, "", r"--prepare: must be from 0 to 64, not 65"),
        (["--state", "~nobody-here/state"], {}, "", r"--state: names a home folder that is not there"),
        (["--grace", "soon"], {}, "", r"--grace: must be a time"),
        (["--log-level", "loud"], {}, "", r"--log-level: must be one of debug, info"),
        ([], {"TWINVEIL_MAX_CALLS": "x"}, "", r"TWINVEIL_MAX_CALLS: must be a whole number"),
        ([], {}, "max_cals = 3", r"toml: the key 'max_cals' is no setting: did you mean 'max_calls'"),
        ([], {}, "[cloud_s1]\nkey_bits = 3", r"toml: the key 'key_bits' in \[cloud_s1\] is no setting"),
        ([], {}, "[cloud_s1]\nmax_calls = true", r"\[cloud_s1\] max_calls: must be a whole number"),
        ([], {}, "max_calls = 1.5", r"max_calls: must be a whole number"),
        ([], {}, "max_calls = ", r"no TOML"),
        ([], {}, "max_calls = 0x" + "f" * 20_000, r"toml: no TOML: an integer of more than 64 bits"),
        ([], {}, "[cloud_s1]\ngrace = [0x" + "f" * 20_000 + "]", r"no TOML: an integer of more than 64 bits"),
        (["--max-calls", "1_0"], {}, "", r"--max-calls: must be a whole number"),
        (["--max-calls", "٣"], {}, "", r"--max-calls: must be a whole number"),
        ([], {"TWINVEIL_MAX_CALLS": " 7 "}, "", r"TWINVEIL_MAX_CALLS: must be a whole number"),
        ([], {"TWINVEIL_MAX_CALLS": "9" * 5000}, "", r"TWINVEIL_MAX_CALLS: must be a whole number$"),
        ([], {}, "insecure_plaintext = 'maybe'", r"must be true or false"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, argv: list[str], environment: dict[str, str], content: str, match: str
) -> None:
    path = tmp_path / "twinveil.toml"
    path.write_text(content)
    with pytest.raises(BadConfiguration, match=match):
        settings(["--config", str(path), *argv], environment)


def test_a_file_is_utf_8_with_or_without_a_mark_whatever_the_locale_is(tmp_path: Path) -> None:
    text = 'state = "é [v2]"\n'
    for name, encoding in (("plain", "utf-8"), ("marked", "utf-8-sig")):
        (tmp_path / f"{name}.toml").write_text(text, encoding=encoding)
        found = subprocess.run(
            [sys.executable, "-c", READ, str(tmp_path / f"{name}.toml")],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        )
        assert found.stdout == b"'\\xe9 [v2]'\n"


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "windows.toml"
    file.write_text('state = "x"', encoding="utf-16")
    with pytest.raises(BadConfiguration, match=r"windows.toml: no TOML: 'utf-8' codec can't decode"):
        settings(["--config", str(file)])


@pytest.mark.parametrize("name", ["no\u00a0break", "line\nbreak", "tab\t", "my cluster [v2]", "\udcff"])
def test_a_path_may_have_any_name_that_a_folder_may_have(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert settings(["--state", str(folder)]).state == folder
    assert settings([], {"TWINVEIL_STATE": str(folder)}).state == folder
    if name.encode(errors="replace").decode() == name:
        file = tmp_path / "twinveil.toml"
        file.write_text(f"state = {json.dumps(name)}", encoding="utf-8")
        assert settings(["--config", str(file)]).state == folder


@pytest.mark.parametrize("value", ["", "a\0b", 7, None])
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(BadConfiguration, match="must be a path"):
        path(value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BadConfiguration, match=r"/nowhere\.toml: No such file"):
        settings(["--config", "/nowhere.toml"])


def test_a_setting_without_default_must_be_given() -> None:
    @dataclass(frozen=True)
    class Needy:
        """Needs a count."""

        count: int = setting(number, "how many")

    assert load(Needy, "needy", ["--count", "3"], {}).count == 3
    with pytest.raises(BadConfiguration, match="--count is missing: how many"):
        load(Needy, "needy", [], {})


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400), (7, 7)]
)
def test_durations(text: object, seconds: float) -> None:
    assert duration(text) == seconds


FOREIGN = ("٣", "1_0", " 7", "7\n", "9" * 5000, "nan", 1e-5, float("inf"), True, None)
"""What int() or float() would take, and what is none."""


@pytest.mark.parametrize("text", [*FOREIGN, "", "s", "-1", "0", "1d", "25h", "٣s", "1_0s"])
def test_no_durations(text: object) -> None:
    with pytest.raises(BadConfiguration):
        duration(text)


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("64KiB", 65536), ("4 MiB", 4 << 20), (4096, 4096)])
def test_sizes(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", [*FOREIGN, "", "0", "4MB", "-1", "1.5MiB", "2GiB"])
def test_no_sizes(text: object) -> None:
    with pytest.raises(BadConfiguration):
        size(text)


def test_truth() -> None:
    assert truth("yes") is truth(True) is truth("1") is True
    assert truth("No") is truth("0") is False


@pytest.fixture
def hints(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been said on the way, each line once."""

    def said() -> list[str]:
        lines = [each.getMessage() for each in caplog.records]
        caplog.clear()
        return lines

    return said


OLD_NAME = "; the old name goes with the next release"


@pytest.mark.parametrize("table", ["", "[cloud_s1]\n"])
def test_a_setting_goes_on_by_its_old_name_and_the_new_one_is_said(
    tmp_path: Path, hints: Callable[[], list[str]], table: str
) -> None:
    file = tmp_path / "old.toml"
    file.write_text(f'{table}cluster = "tls://file:1"\ncluster_tls = "certificates"\n')
    made = settings(["--config", str(file)])
    assert (made.dask, made.dask_tls) == ("tls://file:1", tmp_path / "certificates")
    where = f"{file}: {table.replace(chr(10), ' ')}"
    assert hints() == [f"{where}{old} is now {where}{new}{OLD_NAME}" for old, new in RENAMED.items()]
    for argv in (["--cluster", "tls://flag:1"], ["--cluster=tls://flag:1"]):
        assert settings(argv).dask == "tls://flag:1"
        assert hints() == [f"--cluster is now --dask{OLD_NAME}"]
    variables = {"TWINVEIL_CLUSTER": "tls://variable:1", "TWINVEIL_CLUSTER_TLS": "x"}
    assert settings([], variables).dask == "tls://variable:1"
    assert hints() == [
        f"TWINVEIL_CLUSTER is now TWINVEIL_DASK{OLD_NAME}",
        f"TWINVEIL_CLUSTER_TLS is now TWINVEIL_DASK_TLS{OLD_NAME}",
    ]
    assert settings([], variables | {"TWINVEIL_DASK": "tls://new:1"}).dask == "tls://new:1"
    assert settings(["--dask", "tls://new:1"]).dask == "tls://new:1"


def test_the_folder_of_a_local_cluster_is_no_old_name(hints: Callable[[], list[str]]) -> None:
    assert settings([], {"TWINVEIL_CLUSTER": ".twinveil/local"}).dask is None
    assert hints() == []


def test_other_roles_pass_an_old_name_over(tmp_path: Path, hints: Callable[[], list[str]]) -> None:
    """One file may be everybody's."""
    file = tmp_path / "old.toml"
    file.write_text('cluster = "tls://file:1"\ncluster_tls = "certificates"\n')
    settle(CloudS2Settings, "cloud_s2", {"config": str(file)}, {}, EVERY_SETTING)
    assert hints() == []


def test_secure_or_named_insecure_but_not_both(tmp_path: Path) -> None:
    for argv in ([], ["--insecure-plaintext", f"--tls={tmp_path}"]):
        with pytest.raises(BadConfiguration, match="either --tls FOLDER or --insecure-plaintext"):
            settings(argv).credentials()
    assert settings(["--insecure-plaintext"]).credentials() is None
