"""The report of a quick audit in headless Chromium, at phone width."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from owner.audit.verbs import audit
from tests.browser import NEEDS_CHROMIUM, check_report

pytestmark = NEEDS_CHROMIUM


def test_the_report_on_a_phone(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["--data", "digits", "--quick", "--epochs", "1", "--pictures", "80", "--queries", "40"]
    ended = CliRunner().invoke(
        audit, ["inversion", *arguments, "--layers", "stem7, label", "--report", str(page)]
    )
    assert ended.exit_code == 0, ended.output
    check_report(page, page.read_text().count("<img "))
