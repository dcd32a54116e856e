"""The page on a free loopback port, with answers by script in place of a sealing server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from twinveil.errors import PeerUnavailable
from twinveil.sealing.content import Order
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from user.sealing.flow import Patience
from user.sealing.page.app import make_app
from user.sealing.page.payments import Payments
from user.sealing.session import Answer

PASSWORD = "correct horse"


class Till:
    """Passes from the picture number `passes_at` on, over all payments; refuses or fails on request."""

    def __init__(self, passes_at: int = 1, pause: float = 0.0) -> None:
        self.passes_at = passes_at
        self.pause = pause
        self.refuses = False
        self.is_gone = False
        self.pictures = 0
        self.references: list[bytes] = []

    def send_picture(self, picture: bytes, account: str, order: Order) -> Answer:
        time.sleep(self.pause)
        self.pictures += 1
        self.references.append(order.reference)
        if self.is_gone:
            raise PeerUnavailable("owner at 127.0.0.1:7004 does not answer")
        if self.refuses:
            return Answer(Outcome.REFUSED, None)
        if self.pictures >= self.passes_at:
            return self._passed(account, order)
        return Answer(Outcome.TRY_ANOTHER_PICTURE, None)

    def send_password(self, password: str, account: str, order: Order) -> Answer:
        self.references.append(order.reference)
        return self._passed(account, order) if password == PASSWORD else Answer(Outcome.REFUSED, None)

    @staticmethod
    def _passed(account: str, order: Order) -> Answer:
        number = "4f2a91c07be35d18"
        card = "card ending in 4242"
        return Answer(
            Outcome.PASSED,
            Receipt(
                number, account, order.payee, order.amount, order.currency, card, int(time.time() * 1000)
            ),
        )


@contextmanager
def served(till: Till, camera: Path | None = None, patience: Patience | None = None) -> Iterator[str]:
    """The page's address while the block runs."""
    patience = patience or Patience(attempts=3, pause=0.01)
    app = make_app(Payments(till, patience), "till-7", camera)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
