"""What a person types, as an order and an account."""

from __future__ import annotations

import re

from twinveil.errors import BadInput, InvalidMessage
from twinveil.sealing.content import Order, check_account

_AMOUNT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,2}))?")


def make_order(payee: str, amount: str, currency: str) -> Order:
    """A new order, drawn once a payment. Raises BadInput."""
    match = _AMOUNT.fullmatch(amount)
    cents = int(match[1] + (match[2] or "").ljust(2, "0")) if match else 0
    if not cents:
        raise BadInput(f"{amount[:40]!r} is no amount: write 49.95")
    try:
        return Order(payee, cents, currency)
    except InvalidMessage as error:
        raise BadInput(str(error)) from None


def check_account_name(account: str) -> str:
    """The account itself if it can be one. Raises BadInput."""
    try:
        return check_account(account)
    except InvalidMessage as error:
        raise BadInput(str(error)) from None
