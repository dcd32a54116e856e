"""Verification: every check in its order, each with its own reason.

    read - device - signature - version - keys - network - clock - nonce and counter
    open - content - commitment - factor - account not locked - features close, or password - receipt

Nonce and counter are used up before anything is opened, so whatever comes later, an envelope gets one try.
A miss is booked before features or password are looked at, and given back with the receipt.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from twinveil.errors import BadImage, InvalidMessage
from twinveil.sealing.content import Content, Order, read_content
from twinveil.sealing.envelope import SIGN_VERSIONS, Envelope, commit, decrypt, read_envelope
from twinveil.sealing.factors import FirstFactor, first_factor
from twinveil.sealing.features import Recogniser, closeness
from twinveil.sealing.integers import Integers
from twinveil.sealing.keys import ServerKeys, public_device_key
from twinveil.sealing.pixels import from_png
from twinveil.sealing.reasons import Outcome, Reason, Refusal
from twinveil.sealing.receipt import Receipt
from twinveil.sealing.server.passwords import is_password
from twinveil.sealing.server.store import Account, Store

log = logging.getLogger(__name__)

STAGES = ("read", "signature", "freshness", "open", "factor", "face", "receipt")


@dataclass(frozen=True, slots=True)
class Policy:
    """clock_window: seconds that a timestamp may be off, either way. most_misses: of an account, within
    miss_window seconds; then it is locked until they are that long ago.
    """

    sign_versions: frozenset[int] = frozenset(SIGN_VERSIONS)
    clock_window: float = 120.0
    most_misses: int = 10
    miss_window: float = 900.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """seconds: what each of STAGES took, as far as it came."""

    reason: Reason
    receipt: Receipt | None = field(default=None, repr=False)
    seconds: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def outcome(self) -> Outcome:
        return self.reason.outcome


class Verifier:
    """Safe for threads: what changes is in the store."""

    def __init__(
        self,
        keys: ServerKeys,
        model: FirstFactor,
        recogniser: Recogniser,
        store: Store,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._model = model
        self._recogniser = recogniser
        self._store = store
        self._policy = policy or Policy()
        self._clock = clock

    def verify(self, data: bytes) -> Verdict:
        """Never raises for what is in an envelope."""
        watch = _Stopwatch()
        name = "unknown"
        try:
            with watch.stage("read"):
                envelope = _read(data)
                name = envelope.header.second.device
            with watch.stage("signature"):
                self._check_sender(envelope)
            with watch.stage("freshness"):
                self._check_fresh(envelope)
            with watch.stage("open"):
                content = self._opened(envelope)
            if content.proof == "picture":
                with watch.stage("factor"):
                    check_factor(envelope, content, self._model)
            with watch.stage("face"):
                account = self._recognised(content)
            with watch.stage("receipt"):
                receipt = self._settled(account, content.order)
        except Refusal as refusal:
            log.warning("sealed picture of device %s: %s (%s)", name, refusal.reason.outcome, refusal.reason)
            return Verdict(refusal.reason, None, watch.seconds)
        log.info("sealed picture of device %s: passed, receipt %s", name, receipt.number)
        return Verdict(Reason.PASSED, receipt, watch.seconds)

    def _check_sender(self, envelope: Envelope) -> None:
        header = envelope.header
        key = self._store.device_key(header.second.device)
        if key is None:
            raise Refusal(Reason.FOREIGN_DEVICE)
        if not envelope.is_signed_by(public_device_key(key)):
            raise Refusal(Reason.SIGNATURE)
        if header.second.sign_version not in self._policy.sign_versions:
            raise Refusal(Reason.VERSION)
        if header.key_id != self._keys.public.key_id:
            raise Refusal(Reason.FOREIGN_KEY)
        if header.network != self._model.network.digest:
            raise Refusal(Reason.FOREIGN_MODEL)

    def _check_fresh(self, envelope: Envelope) -> None:
        second = envelope.header.second
        late = self._clock() * 1000 - second.timestamp
        if late > self._policy.clock_window * 1000:
            raise Refusal(Reason.TOO_OLD)
        if -late > self._policy.clock_window * 1000:
            raise Refusal(Reason.TOO_NEW)
        self._store.use(second)

    def _opened(self, envelope: Envelope) -> Content:
        content = open_content(envelope, self._keys)
        if content.proof == "password":
            check_commitment(envelope, content)
        return content

    def _recognised(self, content: Content) -> Account:
        """Features come before the account is looked up: an unknown account takes as long as a known one."""
        features = self._features(content) if content.proof == "picture" else None
        account = self._store.account(content.account)
        now = int(self._clock() * 1000)
        since = now - int(self._policy.miss_window * 1000)
        if not self._store.book_miss(content.account, now, since, self._policy.most_misses):
            raise Refusal(Reason.LOCKED)
        reason = self._miss(account, features, content.secret)
        if reason is not None or account is None:
            raise Refusal(reason or Reason.ACCOUNT)
        return account

    def _miss(self, account: Account | None, features: Integers | None, password: bytes) -> Reason | None:
        """Why this is not the account's owner."""
        if features is None:
            is_right = is_password(password, account.password if account else b"")
            return None if is_right else Reason.PASSWORD
        if account is None or account.recogniser != self._recogniser.network.digest.hex():
            return Reason.ACCOUNT
        close = closeness(features, np.array(account.features, dtype=np.int64))
        return None if close >= self._recogniser.threshold else Reason.FACE

    def _features(self, content: Content) -> Integers:
        try:
            return self._recogniser.features(from_png(content.secret))
        except BadImage:
            raise Refusal(Reason.PICTURE) from None

    def _settled(self, account: Account, order: Order) -> Receipt:
        """The receipt on disk; a payment that was settled before keeps its first one."""
        receipt = {
            "number": secrets.token_hex(8),
            "account": account.name,
            "payee": order.payee,
            "amount": order.amount,
            "currency": order.currency,
            "payment": account.payment,
            "time": int(self._clock() * 1000),
        }
        kept = Receipt(**self._store.settle(account.name, order.reference, receipt))
        if (kept.payee, kept.amount, kept.currency) != (order.payee, order.amount, order.currency):
            raise Refusal(Reason.ORDER)
        return kept


def open_content(envelope: Envelope, keys: ServerKeys) -> Content:
    """Raises Refusal: ALTERED or CONTENT."""
    try:
        plain = decrypt(envelope.header, envelope.ciphertext, keys)
    except InvalidMessage:
        raise Refusal(Reason.ALTERED) from None
    try:
        return read_content(plain)
    except InvalidMessage:
        raise Refusal(Reason.CONTENT) from None


def check_commitment(envelope: Envelope, content: Content) -> None:
    """Raises Refusal if the header commits to another first factor, salt or context."""
    header = envelope.header
    if not hmac.compare_digest(
        header.commitment, commit(content.salt, content.factor, header.second.encode())
    ):
        raise Refusal(Reason.COMMITMENT)


def check_factor(envelope: Envelope, content: Content, model: FirstFactor) -> None:
    """Raises Refusal unless the factor is the one committed to and that of this picture in this context."""
    check_commitment(envelope, content)
    try:
        expected = first_factor(model, envelope.header.second.encode(), content.secret)
    except BadImage:
        raise Refusal(Reason.PICTURE) from None
    if not hmac.compare_digest(content.factor, expected):
        raise Refusal(Reason.FACTOR)


def _read(data: bytes) -> Envelope:
    try:
        return read_envelope(data)
    except InvalidMessage:
        raise Refusal(Reason.MALFORMED) from None


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - begin
