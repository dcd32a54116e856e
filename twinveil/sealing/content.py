"""What only the server reads of an envelope: who pays what, the picture with its factor, or a password."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Literal

from twinveil.errors import InvalidMessage
from twinveil.sealing.pixels import MOST_BYTES
from twinveil.sealing.wire import Reader, number, sized

SALT_BYTES = 32
REFERENCE_BYTES = 16
MOST_FACTOR_BYTES = 1 << 17
MOST_PASSWORD_BYTES = 256
Proof = Literal["picture", "password"]

_PROOFS: dict[Proof, int] = {"picture": 1, "password": 2}
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid: amount in the currency's smallest unit; 0 for a picture that is only sealed.

    reference: 16 bytes that the device draws for a payment and keeps over all its attempts: it is paid once.
    """

    payee: str = ""
    amount: int = 0
    currency: str = "EUR"
    reference: bytes = field(default_factory=lambda: secrets.token_bytes(REFERENCE_BYTES))

    def __post_init__(self) -> None:
        if not self.payee.isprintable() or len(self.payee.encode()) > 128:  # what is printable can be encoded
            raise InvalidMessage("a payee has at most 128 printable bytes")
        if not 0 <= self.amount < 10**12 or not _CURRENCY.fullmatch(self.currency):
            raise InvalidMessage("an order needs an amount below 10^12 and a currency of three capitals")
        if len(self.reference) != REFERENCE_BYTES:
            raise InvalidMessage(f"an order's reference has {REFERENCE_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Content:
    """secret: the picture as PNG with its first factor, or a password with an empty factor."""

    proof: Proof
    account: str
    order: Order
    salt: bytes = field(repr=False)
    factor: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_account(self.account)
        if len(self.salt) != SALT_BYTES:
            raise InvalidMessage(f"a salt has {SALT_BYTES} bytes")
        if (self.proof == "picture") != bool(self.factor):
            raise InvalidMessage("a picture has a first factor, a password has none")

    def encode(self) -> bytes:
        return b"".join(
            (
                number(_PROOFS[self.proof], 1),
                self.salt,
                sized(self.account.encode(), 1),
                sized(self.order.payee.encode(), 1),
                number(self.order.amount, 8),
                self.order.currency.encode(),
                self.order.reference,
                sized(self.factor, 4),
                sized(self.secret, 4),
            )
        )


def check_account(account: str) -> str:
    if not _ACCOUNT.fullmatch(account):
        raise InvalidMessage("an account is named by 1 to 64 letters, digits, '.', '_', '@' and '-'")
    return account


def read_content(data: bytes) -> Content:
    """Raises InvalidMessage for anything that `encode` does not write."""
    reader = Reader(data, "the content of an envelope")
    code = reader.number(1)
    proof = next((name for name, known in _PROOFS.items() if known == code), None)
    if proof is None:
        raise InvalidMessage("the content of an envelope is neither a picture nor a password")
    most_secret = MOST_BYTES if proof == "picture" else MOST_PASSWORD_BYTES
    try:
        salt = reader.take(SALT_BYTES)
        account = reader.sized(1, 1, 64).decode()
        order = Order(
            reader.sized(1, 0, 128).decode(),
            reader.number(8),
            reader.take(3).decode(),
            reader.take(REFERENCE_BYTES),
        )
    except UnicodeDecodeError:
        raise InvalidMessage("the content of an envelope is no text where there should be one") from None
    factor, secret = reader.sized(4, 0, MOST_FACTOR_BYTES), reader.sized(4, 1, most_secret)
    reader.end()
    return Content(proof, account, order, salt, factor, secret)
