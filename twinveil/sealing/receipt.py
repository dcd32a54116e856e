"""The payment's data, as the server gives and the device shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """amount: in the currency's smallest unit. payment: as enrolled. time: milliseconds of Unix time."""

    number: str
    account: str
    payee: str
    amount: int
    currency: str
    payment: str
    time: int

    @property
    def price(self) -> str:
        return price(self.amount, self.currency)


def price(amount: int, currency: str) -> str:
    """4995 EUR as "49.95 EUR"."""
    return f"{amount // 100}.{amount % 100:02d} {currency}"
