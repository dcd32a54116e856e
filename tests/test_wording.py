"""What a person is told to type does what it says, whatever the paths in it look like."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinveil.files import open_to_others
from twinveil.start.boundary import guarded
from twinveil.start.local_folder import cluster_flags
from twinveil.verbs.serve_all import _next
from twinveil.views.collection import load
from twinveil.wording import typed

ODD = ["my cluster [v2]", "two  spaces", "it's", "no\u00a0break", "a\nb", "\\n", "$HOME;`ls`", "é"]
TELL = [
    (lambda path: cluster_flags(path, "user"), ["twinveil", "serve", "all", "--folder"]),
    (load, ["twinveil", "demo", "--record"]),
]


def understood(typed: str) -> list[str]:
    """The words that a shell makes of it."""
    shown = subprocess.run(["/bin/bash", "-c", f"printf '%s\\0' {typed}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in shown.stdout.split(b"\0")[:-1]]


@given(st.lists(st.binary().map(lambda word: os.fsdecode(word.replace(b"\0", b""))), min_size=1, max_size=50))
def test_a_shell_reads_what_was_meant(words: list[str]) -> None:
    line = typed(*words)
    assert line.isprintable()
    assert understood(line) == words


def test_plain_words_are_written_plainly() -> None:
    assert typed("twinveil", "train", "a.b/c-d@1", "--seed", 7) == "twinveil train a.b/c-d@1 --seed 7"


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(("fail", "words"), TELL)
def test_a_command_in_an_error_is_one_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, fail: object, words: list[str]
) -> None:
    def main() -> None:
        fail(tmp_path / name)  # type: ignore[operator]

    assert guarded(main) == 2
    line = capsys.readouterr().err.removesuffix("\n")
    assert understood(line[line.index(" ".join(words)) :]) == [*words, str(tmp_path / name)]


@pytest.mark.parametrize("name", ODD)
def test_what_comes_next_is_to_be_typed(name: str) -> None:
    lines = [line for line in _next(Path(name), True) if line.startswith("  twinveil ")]
    assert len(lines) == 4
    for line in lines:
        words = understood(line)
        assert words[words.index("--cluster") + 1] == name


def test_the_remedy_for_an_open_key_names_it() -> None:
    assert "chmod 600 'my kit/key.pem'; where" in open_to_others(Path("my kit/key.pem"))
