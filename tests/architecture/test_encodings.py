"""Text files are UTF-8 wherever Twinveil runs: no call leaves the encoding to the machine's locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinveil", "owner", "cloud_s1", "cloud_s2", "user")


def unspecified(source: str) -> list[int]:
    """Lines of calls that read or write text without saying in which encoding."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if _is_text(call)]


def _is_text(call: ast.Call) -> bool:
    named = {each.arg: each.value for each in call.keywords}
    if "encoding" in named:
        return False
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return True
        case ast.Attribute(value=ast.Name(id="os"), attr="open"):  # a file's number
            return False
        case ast.Name(id="open") | ast.Attribute(value=ast.Name(id="os"), attr="fdopen"):
            mode = named.get("mode") or next(iter(call.args[1:]), ast.Constant("r"))
        case ast.Attribute(attr="open"):  # of a path
            mode = named.get("mode") or next(iter(call.args), ast.Constant("r"))
        case _:
            return "text" in named or "universal_newlines" in named
    return isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rwxat+")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (ROOT / package).rglob("*.py") if "rpc" not in path.parts)


def test_every_text_is_utf_8() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line in unspecified(path.read_text(encoding="utf-8"))
    }
    assert not found


@pytest.mark.parametrize(
    "call",
    [
        "path.read_text()",
        "path.write_text(text)",
        "path.open()",
        "path.open('w')",
        "open(path, 'a')",
        "os.fdopen(handle, mode='r')",
        "subprocess.run(command, text=True)",
    ],
)
def test_what_leaves_it_to_the_locale_is_found(call: str) -> None:
    assert unspecified(call) == [1]
    named = call.removesuffix(")") + ", encoding='utf-8')"
    assert not unspecified(named.replace("(, ", "("))


@pytest.mark.parametrize(
    "call", ["path.open('rb')", "open(path, 'xb')", "os.open(path, 0)", "path.read_bytes()"]
)
def test_bytes_need_none(call: str) -> None:
    assert not unspecified(call)
