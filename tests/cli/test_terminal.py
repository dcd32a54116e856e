"""What comes from outside is text in a terminal, all of it, in every terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import BadInput
from twinveil.start.boundary import guarded
from twinveil.verbs import status
from twinveil.wording import visible

HOSTILE = {
    "cat [tabby]": "cat [tabby]",
    "[/x]": "[/x]",
    "[bold]:cat:": "[bold]:cat:",
    "a\x1b[31mred": "a\\x1b[31mred",
    "a\x9b31mred": "a\\x9b31mred",
    "a\rb\nc": "a\\rb\\nc",
    "\u202eabc\u2066": "\\u202eabc\\u2066",
    "\ud800": "\\ud800",
    "gr\udcfcn": "gr\\udcfcn",
    "Straße 猫 ٣": "Straße 猫 ٣",
}
ADDRESSES = (
    "cloud-s1.department.university.example.org:7001",
    "file:/home/somebody/twinveil/run/cloud_s1.json",
)


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items(), ids=list(map(ascii, HOSTILE)))
def test_a_name_is_shown_as_it_is_or_as_escapes(
    name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        terminal = Terminal()
        terminal.say("line ", name, styled(name, "bold"))
        table = Table("name", name, title=f"title {name}", title_justify="left", caption=name)
        table.add_row(name, styled(name, "red"))
        terminal.show(table)
        with steps(f"work on {name}"):
            pass
        raise BadInput(name)

    assert guarded(verb) == 2
    printed, said = capsys.readouterr()
    first, second, *_ = (line.rstrip() for line in printed.splitlines())
    assert (first, second) == (f"line {shown}{shown}", f"title {shown}")
    assert printed.count(shown) == 2 + 1 + 1 + 2 + 1
    assert said.splitlines() == [f"work on {shown} (0 s)", f"error: {shown}"]
    assert (printed + said).replace("\n", "").isprintable()


def test_a_label_is_shown_as_it_is_or_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    with steps("work") as step:
        step(1, 2, " ".join(HOSTILE))
        time.sleep(1.1)
    assert capsys.readouterr().err.splitlines()[1] == f"work: 1/2 {' '.join(HOSTILE.values())} (1 s)"


@given(st.text(alphabet=st.characters(), max_size=50))
def test_whatever_a_text_holds_only_letters_are_left(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
    shown.encode()


@pytest.mark.parametrize("columns", [80, 200])
def test_a_bar_in_a_terminal_shows_labels_as_they_are(columns: int) -> None:
    script = (
        "import time; from twinveil.cli.progress import steps\n"
        "with steps('work on [/x]') as step:\n"
        "    step(1, 2, '[/y] \\x1b]0;title\\x07 \\x9b1m'); time.sleep(0.4)\n"
    )
    shown = " ".join(in_a_terminal([sys.executable, "-c", script], COLUMNS=str(columns)).split())
    without_ours = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "\x1b" not in without_ours
    joined = without_ours.replace(" ", "")
    assert "[/x]" in joined
    assert "[/y]" in joined
    assert "Traceback" not in joined


def in_a_terminal(command: list[str], **environment: str) -> str:
    """All that a command writes to a pseudo-terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=os.environ | {"TERM": "xterm"} | environment
    ) as process:
        os.close(its)
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 4096))
            except OSError:  # how the other end's last closing shows on Linux
                break
            if not parts[-1]:
                break
    os.close(ours)
    assert process.returncode == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_a_terminal_that_lacks_a_letter_gets_an_escape(environment: dict[str, str]) -> None:
    script = (
        "import sys; from rich.table import Table\n"
        "from twinveil.start.boundary import guarded\n"
        "from twinveil.cli.terminal import Terminal\n"
        "from twinveil.errors import BadInput\n"
        "def verb():\n"
        "    table = Table('class'); table.add_row('\u732b'); table.add_row('gr\udcfcn')\n"
        "    Terminal().show(table)\n"
        "    raise BadInput('\u732b')\n"
        "sys.exit(guarded(verb))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script.encode("ascii", "backslashreplace").decode()],
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )
    assert ended.returncode == 2
    seen = ended.stdout + ended.stderr
    assert seen.count(b"\\u732b") + seen.count("\u732b".encode()) == 2
    assert b"gr\\udcfcn" in seen
    assert ended.stderr.startswith(b"error: ")


def test_a_log_has_a_line_for_each_event(capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import logging; from twinveil.start.boundary import log_to_stderr\n"
        "log_to_stderr('info'); logging.info('a\\x1b[31m\\nb')\n"
        "try: raise ValueError('c\\x9b1m')\n"
        "except ValueError: logging.exception('d')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    first, second, *_, last = capfd.readouterr().err.splitlines()
    assert first.endswith("INFO root: a\\x1b[31m\\nb")
    assert second.endswith("ERROR root: d")
    assert last == "ValueError: c\\x9b1m"


words = st.text("ab1", min_size=1, max_size=12)
cells = st.lists(words, max_size=6).map(" ".join)


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=4)
    ),
    st.integers(10, 90),
)
def test_a_table_breaks_no_word_and_loses_none(rows: list[tuple[str, ...]], columns: int) -> None:
    heads = [f"head{at}" for at in range(len(rows[0]) if rows else 1)]
    table = Table(*heads, title="title")
    for row in rows:
        table.add_row(*row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        with terminal.capture() as captured:
            terminal.show(table)
    text = captured.get()
    shown = re.findall(r"[a-z0-9]+", text)
    expected = [word for row in rows for cell in row for word in cell.split()]
    assert sorted(word for word in shown if not word.startswith(("head", "title"))) == sorted(expected)
    if "┃" in text:
        assert max(map(len, text.splitlines())) <= columns


def test_in_a_pipe_a_row_stays_on_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("address", "what")
    table.add_row(ADDRESSES[0], "many words " * 20 + "end")
    Terminal().show(table)
    [row] = [line for line in capsys.readouterr().out.splitlines() if ADDRESSES[0] in line]
    assert row.split()[-2] == "end"


@pytest.mark.parametrize("columns", ["20", "40", "80"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_status_is_whole_in_narrow_terminals(
    address: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    answers = [
        status.RoleStatus(
            "cloud_s1",
            address,
            version="0.1.0",
            key_fingerprint="0123456789abcdef",
            models=("mnist 1", "fashion-of-the-year 2.10.3 (cannot be used)"),
            running_queries=3,
            ready_items=47,
            uptime_seconds=123456.7,
            memory_bytes=1234 << 20,
            pid=1951234,
        ),
        status.RoleStatus("cloud_s2", address, error="away"),
    ]
    Terminal().show(status._table(answers))
    shown = capsys.readouterr().out
    assert shown.count(address) == 2
    words = shown.replace("│", " ").split()
    for word in (
        "cloud_s1",
        "0.1.0,",
        "1951234,",
        "123457",
        "1234",
        "01234567,",
        "3,",
        "47",
        "fashion-of-the-year",
        "2.10.3",
    ):
        assert word in words
    assert "no answer" in " ".join(words)
