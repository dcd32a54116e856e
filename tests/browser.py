"""Pages in headless Chromium.

Chromium is the system's (apt-get install chromium); Playwright only drives it and downloads nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
PHONE = (360, 740)


@contextmanager
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright here: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def fits(page: Any) -> bool:
    """Whether all of a page is seen without scrolling sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def check_report(file: Path, pictures: int) -> None:
    """On a phone a report shows all its pictures, fits, complains of nothing and asks nobody for anything."""
    with chromium() as browser:
        page = browser.new_page(viewport=dict(zip(("width", "height"), PHONE, strict=True)))
        trouble: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda each: asked.append(each.url))
        page.goto(file.as_uri())
        assert fits(page), "scrolls sideways"
        widths = page.evaluate("Array.from(document.images, each => each.complete ? each.naturalWidth : 0)")
        assert len(widths) == pictures, widths
        assert all(widths), f"broken: {widths}"
        assert not trouble, trouble
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()], asked
