"""The graph of rooms, drawn from the code: no circle, and every folder says what it knows."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture.test_imports import PACKAGES, ROOT

FOLDERS = sorted(
    init.parent
    for package in PACKAGES
    for init in (ROOT / package).rglob("__init__.py")
    if init.parent != ROOT / "twinveil" / "rpc"
)


def modules() -> dict[str, Path]:
    """Every module of ours, generated ones aside, and its file."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            if not name.startswith("twinveil.rpc."):
                found[name.removesuffix(".__init__")] = file
    return found


def room(module: str, folders: frozenset[str]) -> str:
    """The package that a module lies in; modules on twinveil's top, and roles' own, stand for themselves."""
    parts = module.split(".")
    if parts[0] != "twinveil":
        return parts[0]
    return ".".join(parts[:2]) if f"twinveil.{parts[1:2] and parts[1]}" in folders else module


def imported(tree: ast.AST, known: Mapping[str, Path]) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def drawn() -> dict[str, set[str]]:
    """room -> rooms that it uses."""
    known = modules()
    folders = frozenset(name for name, file in known.items() if file.name == "__init__.py")
    graph: dict[str, set[str]] = {}
    for name, file in known.items():
        mine = room(name, folders)
        for other in imported(ast.parse(file.read_text(encoding="utf-8")), known):
            if other in known and room(other, folders) != mine:
                graph.setdefault(mine, set()).add(room(other, folders))
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Rooms of a circle, in order; empty if there is none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_rooms() -> None:
    graph = drawn()
    assert {"twinveil.transport", "twinveil.protocol", "together"} <= graph.keys()
    assert circle(graph) == []


def test_a_circle_is_seen() -> None:
    graph = drawn()
    graph["twinveil.crypto"] = graph["twinveil.crypto"] | {"twinveil.protocol"}
    assert set(circle(graph)) >= {"twinveil.crypto", "twinveil.protocol"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_folder_says_what_it_knows(folder: Path) -> None:
    """twinveil's own says how TLS is pinned down, in comments; all others in a docstring."""
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or folder == ROOT / "twinveil"
