"""What a person types, as an order and an account."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from twinveil.errors import BadInput, InvalidMessage
from twinveil.sealing.content import Order, check_account


def make_order(payee: str, amount: str, currency: str) -> Order:
    """A new order, drawn once a payment. Raises BadInput."""
    try:
        cents = Decimal(amount) * 100
        if not cents.is_finite() or cents != cents.to_integral_value() or cents < 1:
            raise BadInput(f"'{amount}' is no amount: write 49.95")
        return Order(payee, int(cents), currency)
    except InvalidOperation:
        raise BadInput(f"'{amount}' is no amount: write 49.95") from None
    except InvalidMessage as error:
        raise BadInput(str(error)) from None


def check_account_name(account: str) -> str:
    """The account itself if it can be one. Raises BadInput."""
    try:
        return check_account(account)
    except InvalidMessage as error:
        raise BadInput(str(error)) from None
