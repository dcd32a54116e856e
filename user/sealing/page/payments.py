"""Payments that the page has under way: one thread each, and what the page shows of it."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from twinveil.errors import TooMuch, TwinveilError
from twinveil.sealing.content import Order
from twinveil.sealing.receipt import Receipt, price
from user.sealing.captures import Source
from user.sealing.flow import Patience, PaymentStep, Result, Sender, pay, pay_by_password

State = Literal["running", "passed", "failed", "cancelled"]
MOST_PAYMENTS = 32
TROUBLE = "The payment could not be made."

log = logging.getLogger(__name__)


@dataclass
class Payment:
    """sources: opens the pictures anew, for "again". Changed by its own thread under `lock` only."""

    account: str
    order: Order
    sources: Callable[[], Source]
    number: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "running"
    attempt: int = 1
    attempts: int = 1
    text: str = ""
    picture: bytes | None = None
    picture_number: int = 0
    receipt: Receipt | None = None
    run: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def price(self) -> str:
        return price(self.order.amount, self.order.currency)


class Payments:
    """Those of one device; the oldest that is over makes room for a new one."""

    def __init__(self, sender: Sender, patience: Patience) -> None:
        self._sender = sender
        self._patience = patience
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Payment] = OrderedDict()

    def start(self, account: str, order: Order, sources: Callable[[], Source]) -> Payment:
        """Raises TooMuch while too many payments run."""
        payment = Payment(account, order, sources)
        with self._lock:
            if len(self._all) >= MOST_PAYMENTS:
                over = next((each for each in self._all.values() if each.state != "running"), None)
                if over is None:
                    raise TooMuch("too many payments are under way: wait for one to end")
                del self._all[over.number]
            self._all[payment.number] = payment
        self.again(payment)
        return payment

    def find(self, number: str) -> Payment | None:
        with self._lock:
            return self._all.get(number)

    def again(self, payment: Payment) -> None:
        """Takes pictures again, for the same order."""
        self._begin(
            payment,
            lambda on_step: pay(
                self._sender, payment.sources(), payment.account, payment.order, self._patience, on_step
            ),
        )

    def password(self, payment: Payment, password: str) -> None:
        """Pays the same order by password."""
        self._begin(
            payment, lambda _: pay_by_password(self._sender, password, payment.account, payment.order)
        )

    def cancel(self, payment: Payment) -> None:
        """Gives up a payment that failed; one that is under way or over is left as it is."""
        with payment.lock:
            if payment.state == "failed":
                payment.state = "cancelled"

    def _begin(self, payment: Payment, work: Callable[[Callable[[PaymentStep], None]], Result]) -> None:
        with payment.lock:
            if payment.run and payment.state != "failed":
                return
            payment.state, payment.text, payment.picture = "running", "", None
            payment.attempt, payment.attempts = 1, self._patience.attempts
            payment.run += 1
        threading.Thread(
            target=self._work, args=(payment, work), name=f"payment {payment.number}", daemon=True
        ).start()

    def _work(self, payment: Payment, work: Callable[[Callable[[PaymentStep], None]], Result]) -> None:
        def on_step(step: PaymentStep) -> None:
            with payment.lock:
                payment.attempt, payment.attempts, payment.text = step.attempt, step.attempts, step.text
                if step.picture is not None:
                    payment.picture, payment.picture_number = step.picture, payment.picture_number + 1

        try:
            result = work(on_step)
        except TwinveilError as error:
            log.warning("payment: %s", error)
            result = Result(None, payment.attempt, f"{TROUBLE} {str(error).capitalize()}.")
        except Exception:
            log.exception("payment")
            result = Result(None, payment.attempt, TROUBLE)
        with payment.lock:
            payment.receipt, payment.text = result.receipt, result.text
            payment.state = "passed" if result.receipt is not None else "failed"
            payment.picture = None
