"""Paying: take a picture, seal, send; while it does not pass, take the next, up to a limit, ever slower."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twinveil.errors import BadImage
from twinveil.sealing.content import Order
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from user.sealing.captures import Source
from user.sealing.session import Answer


class Sender(Protocol):
    """What a session does with a proof."""

    def send_picture(self, picture: bytes, account: str, order: Order) -> Answer: ...

    def send_password(self, password: str, account: str, order: Order) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """attempts: pictures in all. pause: seconds before the second one, doubling up to longest."""

    attempts: int = 5
    pause: float = 0.5
    longest: float = 8.0

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt; none before the first."""
        return 0.0 if attempt <= 1 else min(self.longest, self.pause * 2.0 ** (attempt - 2))


@dataclass(frozen=True, slots=True)
class PaymentStep:
    """Where a payment is: the attempt at work, and what became of the one before."""

    attempt: int
    attempts: int
    text: str
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """receipt: of a payment that passed; else text says in a sentence why it did not."""

    receipt: Receipt | None
    attempts: int
    text: str


OnStep = Callable[[PaymentStep], None]

ANOTHER = "Not recognised. The next picture is tried."
UNUSABLE = "That picture cannot be used. The next one is tried."
PASSED = "Paid."
REFUSED = "The payment was refused."
NO_MORE = "There are no more pictures, and none was recognised."
LIMIT = "No picture was recognised."
WRONG_PASSWORD = "The password was refused."  # noqa: S105


def pay(
    sender: Sender,
    source: Source,
    account: str,
    order: Order,
    patience: Patience | None = None,
    on_step: OnStep = lambda step: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """One payment by face. All attempts carry the order's reference, so that it is paid once at most.

    Raises what the transport raises; the next call with the same order goes on where this one stopped.
    """
    patience = patience or Patience()
    text = ""
    for attempt in range(1, patience.attempts + 1):
        on_step(PaymentStep(attempt, patience.attempts, text))
        sleep(patience.before(attempt))
        try:
            picture = source.next()
            if picture is None:
                return Result(None, attempt - 1, NO_MORE)
            on_step(PaymentStep(attempt, patience.attempts, text, picture))
            answer = sender.send_picture(picture, account, order)
        except BadImage:
            text = UNUSABLE
            continue
        if answer.outcome is Outcome.PASSED:
            return Result(answer.receipt, attempt, PASSED)
        if answer.outcome is Outcome.REFUSED:
            return Result(None, attempt, REFUSED)
        text = ANOTHER
    return Result(None, patience.attempts, LIMIT)


def pay_by_password(sender: Sender, password: str, account: str, order: Order) -> Result:
    """One payment by password, for the same order."""
    answer = sender.send_password(password, account, order)
    if answer.outcome is Outcome.PASSED:
        return Result(answer.receipt, 1, PASSED)
    return Result(None, 1, WRONG_PASSWORD)
