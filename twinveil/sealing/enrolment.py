"""An enrolment on its way: account, payment data, password and pictures, sealed to the server by HPKE."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from twinveil.errors import InvalidMessage
from twinveil.sealing.content import MOST_PASSWORD_BYTES, check_account
from twinveil.sealing.keys import PublicKeys, ServerKeys
from twinveil.sealing.pixels import MOST_BYTES
from twinveil.sealing.wire import Reader, number, sized

MOST_PICTURES = 16
MOST_PAYMENT_BYTES = 256
_INFO = b"twinveil sealing enrolment 1\0"
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """pictures: PNG as to_png gives it. payment: what a receipt shows, such as a card's last digits."""

    account: str
    payment: str = field(repr=False)
    password: str = field(repr=False)
    pictures: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        check_account(self.account)
        if not self.payment.isprintable() or len(self.payment.encode()) > MOST_PAYMENT_BYTES:
            raise InvalidMessage(f"payment data have at most {MOST_PAYMENT_BYTES} printable bytes")
        if not 1 <= len(self.pictures) <= MOST_PICTURES:
            raise InvalidMessage(f"an account is enrolled with 1 to {MOST_PICTURES} pictures")

    def sealed(self, keys: PublicKeys) -> bytes:
        parts = [
            sized(self.account.encode(), 1),
            sized(self.payment.encode(), 2),
            sized(self.password.encode(), 2),
            number(len(self.pictures), 1),
            *(sized(picture, 4) for picture in self.pictures),
        ]
        return _SUITE.encrypt(b"".join(parts), keys.hybrid, _INFO + keys.key_id)


def open_enrolment(data: bytes, keys: ServerKeys) -> Enrolment:
    """Raises InvalidMessage for what was not sealed to these keys or is no enrolment."""
    try:
        reader = Reader(_SUITE.decrypt(data, keys.hybrid, _INFO + keys.public.key_id), "an enrolment")
    except (InvalidTag, ValueError):
        raise InvalidMessage("the enrolment was not sealed to this server's keys") from None
    try:
        account, payment, password = (
            reader.sized(size, 0, most).decode()
            for size, most in ((1, 64), (2, MOST_PAYMENT_BYTES), (2, MOST_PASSWORD_BYTES))
        )
    except UnicodeDecodeError:
        raise InvalidMessage("the enrolment is no text where there should be one") from None
    pictures = tuple(reader.sized(4, 1, MOST_BYTES) for _ in range(min(reader.number(1), MOST_PICTURES + 1)))
    reader.end()
    return Enrolment(account, payment, password, pictures)
