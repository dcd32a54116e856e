"""The page in headless Chromium, at desktop and at phone width. SCREENSHOTS=FOLDER keeps pictures of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from owner.sealing.rig import FACE, STRANGER, face
from tests.browser import NEEDS_CHROMIUM, chromium, fits
from tests.sealing.page_server import PASSWORD, Till, served
from user.sealing.flow import Patience

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as started:
        yield started


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser, tmp_path: Path) -> Iterator[object]:
    """Opens the page of a till; at the end nothing was asked of other hosts and nothing was complained of."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    trouble: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda each: asked.append(each.url))

    def look(name: str) -> None:
        assert fits(page), name
        if "SCREENSHOTS" in os.environ:
            folder = Path(os.environ["SCREENSHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{request.param}-{name}.png")

    page.look = look
    page.files = lambda *who: [
        {"name": f"{place}.png", "mimeType": "image/png", "buffer": face(each, place)}
        for place, each in enumerate(who)
    ]
    yield page
    context.close()
    assert trouble == []
    assert {url.split("/")[2].split(":")[0] for url in asked} == {"127.0.0.1"}


def fill(page, *who: str) -> None:
    page.get_by_label("Account").fill("alice")
    page.get_by_label("Payee").fill("Corner Bakery")
    page.get_by_label("Amount").fill("49.95")
    page.locator("input[type=file]").set_input_files(page.files(*who))
    page.get_by_role("button", name="Pay").click()


def test_a_payment_from_the_form_to_the_receipt(visit) -> None:
    with served(Till(passes_at=2, pause=1.0), patience=Patience(3, 0.5)) as address:
        visit.goto(address)
        visit.look("form")
        fill(visit, STRANGER, FACE)
        visit.get_by_text("Picture 1 of 3").wait_for()
        visit.locator(".frame img").wait_for()
        visit.look("running")
        visit.get_by_text("Not recognised. The next picture is tried.").wait_for()
        visit.get_by_role("heading", name="Paid", exact=True).wait_for()
        assert visit.get_by_text("card ending in 4242").is_visible()
        visit.look("passed")
        visit.get_by_role("button", name="New payment").click()
        visit.get_by_label("Account").wait_for()


def test_the_three_ways_on_after_a_failure(visit) -> None:
    with served(Till(passes_at=99), patience=Patience(2, 0.01)) as address:
        visit.goto(address)
        fill(visit, STRANGER)
        visit.get_by_role("heading", name="Not paid").wait_for()
        visit.look("failed")
        visit.get_by_role("button", name="Again").click()
        visit.get_by_role("heading", name="Not paid").wait_for()
        visit.get_by_role("button", name="Password").click()
        visit.get_by_label("Password of alice").fill("wrong")
        visit.look("password")
        visit.get_by_role("button", name="Pay").click()
        visit.get_by_text("The password was refused.").wait_for()
        visit.get_by_role("button", name="Password").click()
        visit.get_by_label("Password of alice").fill(PASSWORD)
        visit.get_by_role("button", name="Pay").click()
        visit.get_by_role("heading", name="Paid", exact=True).wait_for()
        visit.get_by_role("button", name="New payment").click()
        fill(visit, STRANGER)
        visit.get_by_role("button", name="Cancel").click()
        visit.get_by_role("heading", name="Cancelled").wait_for()
        visit.look("cancelled")


def test_a_wrong_form_says_so(visit) -> None:
    with served(Till()) as address:
        visit.goto(address)
        visit.get_by_label("Account").fill("alice")
        visit.get_by_label("Payee").fill("Corner Bakery")
        visit.get_by_label("Amount").fill("many")
        visit.locator("input[type=file]").set_input_files(visit.files(FACE))
        visit.get_by_role("button", name="Pay").click()
        visit.get_by_role("alert").wait_for()
        assert visit.get_by_label("Payee").input_value() == "Corner Bakery"
        visit.look("error")
