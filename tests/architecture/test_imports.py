"""What each role's process really loads, and what no file may contain."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinveil", "owner", "cloud_s1", "cloud_s2", "user", "together")
ROLES = PACKAGES[1:5]
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "twinveil/rpc" not in path.as_posix()
)
SECRET_KEY = "twinveil.crypto.secret_key"

LOAD = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not (module.name in sys.argv[2:] or module.name.endswith(".__main__")):
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


@cache
def loaded(package: str, *without: str) -> set[str]:
    """The modules in memory after every module of a package has been imported, in a process of its own."""
    command = [sys.executable, "-c", LOAD, package, *without]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert shown.returncode == 0, shown.stderr
    return set(json.loads(shown.stdout.splitlines()[-1]))


@cache
def serving(role: str) -> set[str]:
    """The modules in memory of `python -m ROLE` once its command line has been read."""
    program = (
        "import json, runpy, sys\n"
        f"sys.argv = ['{role}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{role}', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    code = ended.code\n"
        "print()\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    return set(json.loads(shown.stdout.splitlines()[-1]))


def within(modules: set[str], *packages: str) -> set[str]:
    return {name for name in modules if any(name == each or name.startswith(each + ".") for each in packages)}


def of_side(modules: set[str], side: str) -> set[str]:
    """The modules of the protocol that are one cloud's own."""
    return {name for name in within(modules, "twinveil.protocol") if side in name.split(".")}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_loads_no_other_role(role: str) -> None:
    others = [each for each in ROLES if each != role]
    assert within(serving(role), *others) == set()
    assert within(serving(role), role) >= {role}


def test_the_library_loads_no_role() -> None:
    assert within(loaded("twinveil"), *ROLES) == set()


def test_s1_has_no_secret_key() -> None:
    modules = loaded("cloud_s1") | serving("cloud_s1")
    assert SECRET_KEY not in modules
    assert of_side(modules, "s2") == set()


def test_s2_has_nothing_of_s1() -> None:
    modules = loaded("cloud_s2") | serving("cloud_s2")
    assert of_side(modules, "s1") == set()


def test_the_user_has_neither_engine_nor_secret_key() -> None:
    modules = loaded("user") | serving("user")
    assert within(modules, "twinveil.protocol", "twinveil.garbling", SECRET_KEY) == set()


def test_the_owner_has_no_secret_key() -> None:
    assert SECRET_KEY not in loaded("owner") | serving("owner")


@pytest.mark.parametrize("package", ["cloud_s1", "cloud_s2", "user", "twinveil"])
def test_torch_is_the_owners_alone(package: str) -> None:
    assert within(loaded(package), "torch", "sklearn", "mlxtend", "matplotlib", "pandas") == set()


@pytest.mark.parametrize("package", ["twinveil.crypto", "twinveil.garbling", "twinveil.protocol"])
def test_the_mathematics_loads_no_transport(package: str) -> None:
    assert within(loaded(package), "grpc") == set()


def test_the_command_line_imports_no_role_and_no_torch() -> None:
    assert within(loaded("twinveil.cli", "twinveil.cli.__main__"), *ROLES, "torch") == set()


INITS = sorted(path.parent for package in PACKAGES for path in (ROOT / package).rglob("__init__.py"))


def test_package_files_load_nothing() -> None:
    """Re-exports would defeat the import contracts: whoever imports a package gets the package alone."""
    names = [folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in INITS]
    program = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    command = [sys.executable, "-c", program + "print(json.dumps(sorted(sys.modules)))", *names]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert within(set(json.loads(shown.stdout)), *PACKAGES) == set(names)


def is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


SIZES = {"cpu_count", "sched_getaffinity", "virtual_memory"}
"""What a machine has, and not what a container may use of it."""


def faults(tree: ast.AST, torch_allowed: bool) -> Iterator[str]:
    banned = {"random", "pickle", "marshal", "shelve", "cPickle"} | (set() if torch_allowed else {"torch"})
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Assert):
            yield f"line {line}: assert does nothing under python -O: raise an error"
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in banned:
                    yield f"line {line}: import {alias.name}"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in banned:
            yield f"line {line}: from {node.module} import"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in ("np.random", "numpy.random") and not torch_allowed:
                yield f"line {line}: {name} is not for secrets"
        if isinstance(node, ast.Attribute) and node.attr in (
            "cpu_count",
            "sched_getaffinity",
            "virtual_memory",
        ):
            yield f"line {line}: a container may have less: twinveil.container"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not is_false(node.value):
            yield f"line {line}: allow_pickle"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            yield f"line {line}: a shell"
        if isinstance(node, ast.Constant) and node.value == "-m":
            yield f"line {line}: a process of its own: twinveil.start.process.command"


ALLOWED = {
    Path("together/demo.py"): "np.random",
    Path("owner/sealing/fuzz.py"): "import random",
    Path("twinveil/start/process.py"): "a process",
    Path("twinveil/container.py"): "a container",
}
"""Drawn again from the same seed on purpose, and nothing secret: which held-out pictures the demo
shows, and what a fuzzer changes. And the one place that says how processes are started, and the one that
knows how large a machine is.
"""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_holds_what_the_house_bans(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = faults(tree, torch_allowed=path.is_relative_to(ROOT / "owner"))
    allowed = ALLOWED.get(path.relative_to(ROOT))
    assert [fault for fault in found if allowed is None or allowed not in fault] == []


@pytest.mark.parametrize(
    "source",
    [
        "assert x",
        "import random",
        "from random import randrange",
        "import pickle",
        "from torch import nn",
        "np.random.rand()",
        "np.load(f, allow_pickle=True)",
        "run('x', shell=True)",
        "run([executable, '-m', 'owner'])",
        "os.cpu_count()",
    ],
)
def test_the_ban_is_seen_to_work(source: str) -> None:
    assert list(faults(ast.parse(source), torch_allowed=False))
    assert not list(faults(ast.parse("np.load(f, allow_pickle=False)"), torch_allowed=False))


def test_every_package_is_typed() -> None:
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)
