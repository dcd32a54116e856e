"""What the documents name is there: paths, modules, tests, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.test_imports import PACKAGES, ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "twinveil" / "protocol" / "README.md"]
)
BESIDE = (
    ROOT,
    ROOT / "twinveil",
    ROOT / "tests",
    ROOT / "tests" / "security",
    ROOT / "protos" / "twinveil" / "rpc",
)
"""What a path may be relative to, beside the page's own folder."""

PATH = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|proto|toml|md)|(?:[\w-]+/)+)(?:::(\w+))?`")
FOLDER = re.compile(rf"`((?:{'|'.join((*PACKAGES, 'docs', 'protos', 'scripts', 'tests'))})(?:/\w+)+)`")
MODULE = re.compile(rf"`((?:{'|'.join(PACKAGES)}|tests)(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

MADE = {
    "config.toml",
    "network.json",
    "numpy.py",
    "tls/",
    "targets/",
    "targets-simple/",
    "nearest/",
    "masks/",
}
"""What a person or a command makes, and nobody commits."""

PLACEHOLDER = re.compile(r"(?:^|[/.])(?:NAME|ROLE|CLOUD|TIME-KIND|FOLDER)(?=[/.]|$)")
"""A part of a path that stands for any: NAME, CLOUD, TIME-KIND."""

RPC = re.compile(r"`(?:owner|cloud_s1|cloud_s2|user|sealing)\.([A-Z]\w+)\.([A-Z]\w+)`")
RPCS = {
    (service, rpc)
    for file in (ROOT / "protos").rglob("*.proto")
    for service, body in re.findall(r"service (\w+) \{(.*?)\n\}", file.read_text(encoding="utf-8"), re.DOTALL)
    for rpc in re.findall(r"rpc (\w+)\(", body)
}

SCRIPTS = (".ci/run", "Makefile", "scripts/check", "scripts/lowest", "scripts/sanitize", "scripts/stubs")

NAMES = {file.name for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py")}
"""A file's name alone will do, where some file has it."""


def missing(text: str, folder: Path) -> list[str]:
    """Every path, test, module and link that a page in `folder` names and that is not there."""
    found = []
    for path, test in PATH.findall(text):
        if path in MADE or PLACEHOLDER.search(path) or (path in NAMES and not test):
            continue
        there = [base / path for base in (folder, *BESIDE) if (base / path).exists()]
        if not there:
            found.append(path)
        elif test and not any(test in each.read_text(encoding="utf-8") for each in there if each.is_file()):
            found.append(f"{path}::{test}")
    calls = {match.group(0).strip("`"): match.groups() for match in RPC.finditer(text)}
    found += [call for call, rpc in calls.items() if rpc not in RPCS]
    found += [module for module in MODULE.findall(text) if module not in calls and not _is_there(module)]
    found += [path for path in FOLDER.findall(text) if not (ROOT / path).exists()]
    return found + [link for link in LINK.findall(text) if not (folder / link).exists()]


def _is_there(name: str) -> bool:
    """A module, or a name in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        file = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
        if file.is_file():
            inside = parts[length : length + 1]
            return not inside or bool(re.search(rf"\b{inside[0]}\b", file.read_text(encoding="utf-8")))
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8"), page.parent) == []


@pytest.mark.parametrize(
    "text",
    [
        "`twinveil/plan.py`",
        "`net/`",
        "`tests/unit`",
        "`test_fuzz.py::test_nothing`",
        "`twinveil.net.chunks`",
        "`cloud_s2.Rounds.Nothing`",
        "[x](docs/none.md)",
    ],
)
def test_what_is_not_there_is_seen(text: str) -> None:
    assert missing(text, ROOT)


def test_placeholders_stand_for_any_name() -> None:
    assert missing("`protos/twinveil/rpc/NAME.proto` `CLOUD/TIME-KIND/`", ROOT) == []
    assert missing("`twinveil/README.md`", ROOT) == ["twinveil/README.md"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_tests_that_a_script_runs_are_there(script: str) -> None:
    """pytest would say so, too, but only where the script runs."""
    text = re.sub(
        r"tests/\{([\w,]+)\}",
        lambda braces: " ".join(f"tests/{each}" for each in braces[1].split(",")),
        (ROOT / script).read_text(encoding="utf-8"),
    )
    named = re.findall(r"\btests(?:/\w+)+(?:\.py)?", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_modules_that_the_code_speaks_of_are_there() -> None:
    """In docstrings, comments and texts: imports that lead nowhere are seen without a test."""
    files = [file for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py")]
    named = {
        name: file
        for file in files
        if file != Path(__file__) and file.parent != ROOT / "twinveil" / "rpc"
        for name in re.findall(r"\btwinveil(?!\.toml)(?:\.[a-z]\w*)+", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 150
    assert {name: file for name, file in named.items() if not _is_there(name)} == {}
