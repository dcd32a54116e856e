"""The page over HTTP: its fragments, its three ways on, and whom it answers."""

from __future__ import annotations

import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from owner.sealing.rig import FACE, STRANGER, face
from tests.sealing.page_server import PASSWORD, Till, served
from twinveil.errors import TooMuch
from twinveil.sealing.content import Order
from user.sealing.captures import Pictures
from user.sealing.flow import Patience
from user.sealing.page.app import htmx
from user.sealing.page.payments import MOST_PAYMENTS, Payments

FIELDS = {"account": "alice", "payee": "Corner Bakery", "amount": "3.50", "currency": "EUR"}


class Browser:
    """Sends what the page's forms send."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        return self._send(urllib.request.Request(self.address + path, headers=headers))

    def post(self, path: str, fields: dict[str, str], *pictures: bytes, **headers: str) -> tuple[int, str]:
        boundary = secrets.token_hex(8)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        for picture in pictures:
            head = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="pictures"; filename="p.png"\r\n\r\n'
            )
            parts.append(head.encode() + picture + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        sent = {"HX-Request": "true", "Content-Type": f"multipart/form-data; boundary={boundary}"} | headers
        status, text, _ = self._send(urllib.request.Request(self.address + path, body, sent))
        return status, text

    def pay(self, *pictures: bytes, **fields: str) -> str:
        status, text = self.post("/pay", FIELDS | fields, *pictures)
        assert status == 200
        return text

    def settle(self, text: str) -> str:
        """Polls as htmx does, until the payment is no longer under way."""
        end = time.monotonic() + 20
        while (again := re.search(r'hx-get="(/payments/[^"/]+)" hx-trigger="load', text)) is not None:
            assert time.monotonic() < end
            time.sleep(0.02)
            text = self.get(again[1])[1]
        return text

    @staticmethod
    def _send(request: urllib.request.Request) -> tuple[int, str, dict[str, str]]:
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, reply.read().decode(errors="replace"), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def browser(till: Till) -> Iterator[Browser]:
    with served(till) as address:
        yield Browser(address)


def number(text: str) -> str:
    found = re.search(r"/payments/([^/\"]+)", text)
    assert found is not None
    return found[1]


def test_the_page_needs_nothing_from_elsewhere(browser: Browser) -> None:
    status, text, headers = browser.get("/")
    assert status == 200
    assert "till-7" in text
    for path in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert path.startswith("/")
        assert browser.get(path)[0] == 200
    assert "//" not in re.sub(r"<!doctype html>", "", text)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert b"htmx" in htmx().read_bytes()


def test_a_payment_passes(browser: Browser, till: Till) -> None:
    text = browser.settle(browser.pay(face(FACE, 0)))
    assert 'data-state="passed"' in text
    for shown in ("3.50 EUR", "Corner Bakery", "card ending in 4242", "4f2a91c07be35d18", "alice"):
        assert shown in text
    assert till.pictures == 1


def test_the_next_picture_is_tried(browser: Browser, till: Till) -> None:
    till.passes_at = 3
    text = browser.settle(browser.pay(*(face(FACE, shot) for shot in range(3))))
    assert 'data-state="passed"' in text
    assert till.pictures == 3


def test_a_failure_offers_again_password_and_cancel(browser: Browser, till: Till) -> None:
    till.passes_at = 3
    text = browser.settle(browser.pay(face(STRANGER, 0), face(STRANGER, 1)))
    assert 'data-state="failed"' in text
    for offer in ("Again", "Password", "Cancel"):
        assert offer in text
    status, text = browser.post(f"/payments/{number(text)}/again", {})
    assert status == 200
    assert 'data-state="passed"' in browser.settle(text)
    assert len(set(till.references)) == 1


def test_a_password_pays_after_a_failure(browser: Browser, till: Till) -> None:
    till.passes_at = 99
    payment = number(browser.settle(browser.pay(face(STRANGER, 0))))
    _, text, _ = browser.get(f"/payments/{payment}/password")
    assert 'type="password"' in text
    _, text = browser.post(f"/payments/{payment}/password", {"password": ""})
    assert "Please type the password." in text
    _, text = browser.post(f"/payments/{payment}/password", {"password": "wrong"})
    assert "The password was refused." in browser.settle(text)
    _, text = browser.post(f"/payments/{payment}/password", {"password": PASSWORD})
    assert 'data-state="passed"' in browser.settle(text)
    assert len(set(till.references)) == 1
    _, text = browser.post(f"/payments/{payment}/again", {})  # paid: nothing is sent any more
    assert 'data-state="passed"' in text


def test_a_cancelled_payment_stays_cancelled(browser: Browser, till: Till) -> None:
    till.refuses = True
    payment = number(browser.settle(browser.pay(face(FACE, 0))))
    _, text = browser.post(f"/payments/{payment}/cancel", {})
    assert 'data-state="cancelled"' in text
    _, text = browser.post(f"/payments/{payment}/again", {})
    assert 'data-state="cancelled"' in text
    assert till.pictures == 1


def test_trouble_is_said_in_one_sentence(browser: Browser, till: Till) -> None:
    till.is_gone = True
    text = browser.settle(browser.pay(face(FACE, 0)))
    assert "The payment could not be made. Owner at 127.0.0.1:7004 does not answer." in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"amount": "many"}, "is no amount"),
        ({"account": "<script>"}, "An account is named by"),
        ({"payee": "x" * 200}, "A payee has at most"),
        ({}, "Choose at least one picture"),
    ],
)
def test_a_wrong_form_is_given_back(browser: Browser, fields: dict[str, str], said: str) -> None:
    text = browser.pay(**fields)
    assert said in text
    assert "<script>" not in text
    assert 'name="payee"' in text


def test_a_comma_may_part_the_cents(browser: Browser) -> None:
    assert "12.30 EUR" in browser.pay(face(FACE, 0), amount="12,30")


def test_foreign_pages_and_names_are_refused(browser: Browser, till: Till) -> None:
    assert browser.get("/", Host="evil.example")[0] == 403
    assert browser.get("/", Host="127.0.0.1.evil.example:80")[0] == 403
    for headers in ({"HX-Request": "false"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert browser.post("/pay", FIELDS, face(FACE, 0), **headers)[0] == 403
    assert browser.post("/pay", FIELDS, face(FACE, 0), Origin=browser.address)[0] == 200
    request = urllib.request.Request(
        browser.address + "/pay", method="OPTIONS", headers={"Origin": "http://e"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert "access-control-allow-origin" not in caught.value.headers


def test_unknown_payments_are_not_found(browser: Browser) -> None:
    assert browser.get("/payments/none")[0] == 404
    assert browser.get("/payments/none/picture")[0] == 404
    assert browser.get("/docs")[0] == 404


def test_a_cameras_frames_are_taken(tmp_path: Path, till: Till) -> None:
    (tmp_path / "1.png").write_bytes(face(FACE, 0))
    with served(till, camera=tmp_path) as address:
        browser = Browser(address)
        assert 'type="file"' not in browser.get("/")[1]
        assert 'data-state="passed"' in browser.settle(browser.pay())


def test_payments_under_way_are_limited() -> None:
    slow = Till(pause=30)
    payments = Payments(slow, Patience())
    for _ in range(MOST_PAYMENTS):
        payments.start("alice", Order("bakery", 1), lambda: Pictures([face(FACE, 0)]))
    with pytest.raises(TooMuch):
        payments.start("alice", Order("bakery", 1), lambda: Pictures([face(FACE, 0)]))
