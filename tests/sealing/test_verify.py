"""Every way to be refused, each with its own reason; the device hears only one of three words."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from owner.sealing.rig import ACCOUNT, FACE, PASSWORD, PAYMENT, STRANGER, Rig, face, new_device
from tests.sealing.conftest import Clock
from twinveil.errors import BadImage, BadInput, InvalidMessage
from twinveil.sealing import synthetic
from twinveil.sealing.content import Content, Order
from twinveil.sealing.context import SecondFactor
from twinveil.sealing.device import Terms
from twinveil.sealing.enrolment import Enrolment
from twinveil.sealing.envelope import (
    SIGN_VERSIONS,
    SIGNATURE_BYTES,
    Header,
    commit,
    encrypt,
    sign,
    sign_bytes,
)
from twinveil.sealing.factors import factor_model, first_factor
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import ServerKeys
from twinveil.sealing.reasons import Outcome, Reason
from twinveil.sealing.server.store import Store
from twinveil.sealing.server.verify import Policy, Verifier


def reason(rig: Rig, envelope: bytes) -> Reason:
    return rig.verifier.verify(envelope).reason


@pytest.mark.parametrize("version", SIGN_VERSIONS)
def test_an_honest_picture_passes_and_has_a_receipt(rig: Rig, clock: Clock, version: int) -> None:
    verdict = rig.verifier.verify(rig.seal(order=Order("bakery", 350, "CHF"), sign_version=version))
    assert verdict.outcome is Outcome.PASSED
    assert verdict.receipt is not None
    receipt = verdict.receipt
    assert (receipt.account, receipt.payee, receipt.price) == (ACCOUNT, "bakery", "3.50 CHF")
    assert (receipt.payment, receipt.time) == (PAYMENT, int(clock.now * 1000))
    assert set(verdict.seconds) == {"read", "signature", "freshness", "open", "factor", "face", "receipt"}


def test_another_face_is_to_try_another_picture(rig: Rig) -> None:
    verdict = rig.verifier.verify(rig.seal(STRANGER))
    assert verdict.reason is Reason.FACE
    assert verdict.outcome is Outcome.TRY_ANOTHER_PICTURE
    assert verdict.receipt is None


def test_an_unknown_account_looks_like_a_wrong_face(rig: Rig) -> None:
    verdict = rig.verifier.verify(rig.device.seal(face(FACE, 9), "nobody", Order(), rig.terms()))
    assert verdict.reason is Reason.ACCOUNT
    assert verdict.outcome is Outcome.TRY_ANOTHER_PICTURE


def test_a_replay_is_known(rig: Rig) -> None:
    envelope = rig.seal()
    assert reason(rig, envelope) is Reason.PASSED
    assert reason(rig, envelope) is Reason.REPLAYED


def test_counters_only_rise(rig: Rig) -> None:
    first, second = rig.seal(), rig.seal()
    assert reason(rig, second) is Reason.PASSED
    assert reason(rig, first) is Reason.COUNTER


def test_one_device_does_not_use_up_anothers_counter(rig: Rig, clock: Clock) -> None:
    other = new_device("device-2", clock)
    rig.registry.register_device(other.name, other.public_key)
    assert reason(rig, rig.seal()) is Reason.PASSED
    assert reason(rig, other.seal(face(FACE, 9), ACCOUNT, Order(), rig.terms())) is Reason.PASSED


def test_a_failed_attempt_uses_its_envelope_up(rig: Rig) -> None:
    envelope = rig.seal(STRANGER)
    assert reason(rig, envelope) is Reason.FACE
    assert reason(rig, envelope) is Reason.REPLAYED


@pytest.mark.parametrize(
    ("skew", "wanted"),
    [(-120, Reason.PASSED), (120, Reason.PASSED), (-121, Reason.TOO_OLD), (121, Reason.TOO_NEW)],
)
def test_clocks_may_be_off_by_the_window(rig: Rig, clock: Clock, skew: int, wanted: Reason) -> None:
    late = dataclasses.replace(rig.device, clock=lambda: clock.now + skew)
    assert reason(rig, late.seal(face(FACE, 9), ACCOUNT, Order(), rig.terms())) is wanted


def test_an_envelope_that_came_too_early_is_not_used_up(rig: Rig, clock: Clock) -> None:
    ahead = dataclasses.replace(rig.device, clock=lambda: clock.now + 200)
    envelope = ahead.seal(face(FACE, 9), ACCOUNT, Order(), rig.terms())
    assert reason(rig, envelope) is Reason.TOO_NEW
    clock.now += 200
    assert reason(rig, envelope) is Reason.PASSED


def test_foreign_devices_keys_and_networks(rig: Rig, clock: Clock) -> None:
    stranger = new_device("device-9", clock)
    assert reason(rig, stranger.seal(face(FACE, 9), ACCOUNT, Order(), rig.terms())) is Reason.FOREIGN_DEVICE
    impostor = new_device(rig.device.name, clock)
    assert reason(rig, impostor.seal(face(FACE, 9), ACCOUNT, Order(), rig.terms())) is Reason.SIGNATURE
    other_keys = Terms(ServerKeys.make().public, rig.model)
    assert reason(rig, rig.device.seal(face(FACE, 9), ACCOUNT, Order(), other_keys)) is Reason.FOREIGN_KEY
    other_model = Terms(rig.keys.public, factor_model(synthetic.variational("another")))
    assert reason(rig, rig.device.seal(face(FACE, 9), ACCOUNT, Order(), other_model)) is Reason.FOREIGN_MODEL


def test_a_version_that_is_no_longer_accepted(rig: Rig) -> None:
    strict = Verifier(rig.keys, rig.model, rig.recogniser, rig.store, Policy(frozenset({3})), rig.clock)
    assert strict.verify(rig.seal(sign_version=1)).reason is Reason.VERSION
    assert strict.verify(rig.seal(sign_version=3)).reason is Reason.PASSED


class Forger:
    """A registered device that lies: everything that it can put together is well signed."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.second = SecondFactor(
            rig.device.name, 1, int(rig.clock() * 1000), rig.device.counter(), bytes(16)
        )
        self.picture = face(FACE, 9)
        self.factor = first_factor(rig.model, self.second.encode(), self.picture)
        self.salt = bytes(32)

    def header(self, factor: bytes, second: SecondFactor | None = None) -> Header:
        second = second or self.second
        commitment = commit(self.salt, factor, second.encode())
        return Header(second, self.rig.model.network.digest, self.rig.keys.public.key_id, commitment)

    def content(self, **changes: object) -> bytes:
        honest = Content("picture", ACCOUNT, Order("bakery", 350), self.salt, self.factor, self.picture)
        return dataclasses.replace(honest, **changes).encode()  # type: ignore[arg-type]

    def envelope(self, header: Header, content: bytes, sealed_for: Header | None = None) -> bytes:
        ciphertext = encrypt(sealed_for or header, content, self.rig.keys.public)
        return sign(header, ciphertext, self.rig.device.key)


def test_another_factor_than_the_committed_one(rig: Rig) -> None:
    forger = Forger(rig)
    envelope = forger.envelope(forger.header(forger.factor), forger.content(factor=b"other"))
    assert reason(rig, envelope) is Reason.COMMITMENT


def test_a_committed_factor_of_another_picture(rig: Rig) -> None:
    forger = Forger(rig)
    other = first_factor(rig.model, forger.second.encode(), face(FACE, 8))
    assert reason(rig, forger.envelope(forger.header(other), forger.content(factor=other))) is Reason.FACTOR


def test_a_factor_of_another_context(rig: Rig) -> None:
    forger = Forger(rig)
    earlier = dataclasses.replace(forger.second, timestamp=forger.second.timestamp - 1)
    stale = first_factor(rig.model, earlier.encode(), forger.picture)
    assert reason(rig, forger.envelope(forger.header(stale), forger.content(factor=stale))) is Reason.FACTOR


def test_a_ciphertext_under_another_header(rig: Rig) -> None:
    """An old ciphertext cannot be carried into a new context, even by the device itself."""
    forger = Forger(rig)
    header = forger.header(forger.factor)
    moved = dataclasses.replace(forger.second, counter=99, random=bytes([7]) * 16)
    envelope = forger.envelope(forger.header(forger.factor, moved), forger.content(), sealed_for=header)
    assert reason(rig, envelope) is Reason.ALTERED


@pytest.mark.parametrize("content", [b"", b"\x07" + bytes(200), bytes(3)])
def test_a_content_that_is_none(rig: Rig, content: bytes) -> None:
    forger = Forger(rig)
    assert reason(rig, forger.envelope(forger.header(forger.factor), content)) is Reason.CONTENT


def test_more_than_a_content(rig: Rig) -> None:
    forger = Forger(rig)
    envelope = forger.envelope(forger.header(forger.factor), forger.content() + b"\0")
    assert reason(rig, envelope) is Reason.CONTENT


@pytest.mark.parametrize("secret", [b"no picture", synthetic.png(synthetic.picture("x"))[:-200]])
def test_a_picture_that_is_none(rig: Rig, secret: bytes) -> None:
    forger = Forger(rig)
    envelope = forger.envelope(forger.header(forger.factor), forger.content(secret=secret))
    verdict = rig.verifier.verify(envelope)
    assert verdict.reason is Reason.PICTURE
    assert verdict.outcome is Outcome.TRY_ANOTHER_PICTURE


def test_a_blank_picture_is_to_try_another(rig: Rig) -> None:
    blank = synthetic.png(synthetic.picture("x") * 0 + 80)
    assert reason(rig, rig.device.seal(blank, ACCOUNT, Order(), rig.terms())) is Reason.PICTURE


def test_passwords(rig: Rig) -> None:
    def by(password: str, account: str = ACCOUNT) -> Reason:
        return reason(rig, rig.device.seal_password(password, account, Order("bakery", 1), rig.terms()))

    assert by("anything at all") is Reason.PASSWORD
    rig.enrol(password=PASSWORD)
    assert by(PASSWORD) is Reason.PASSED
    assert by(PASSWORD + "r") is Reason.PASSWORD
    assert by(PASSWORD, "nobody") is Reason.PASSWORD


def test_a_password_is_bound_to_its_context_too(rig: Rig) -> None:
    forger = Forger(rig)
    content = forger.content(proof="password", factor=b"", secret=PASSWORD.encode())
    assert reason(rig, forger.envelope(forger.header(b"other"), content)) is Reason.COMMITMENT


def test_misses_lock_an_account_for_a_while(rig: Rig, clock: Clock) -> None:
    for _ in range(10):
        assert reason(rig, rig.seal(STRANGER)) is Reason.FACE
    verdict = rig.verifier.verify(rig.seal())
    assert verdict.reason is Reason.LOCKED
    assert verdict.outcome is Outcome.REFUSED
    clock.now += 901
    assert reason(rig, rig.seal()) is Reason.PASSED


def test_a_pass_forgets_misses(rig: Rig) -> None:
    for _ in range(3):
        for _ in range(9):
            rig.verifier.verify(rig.seal(STRANGER))
        assert reason(rig, rig.seal()) is Reason.PASSED


class Hash:
    """Stands in for scrypt: counts who reaches it, and lets nobody go before `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.reached = seconds, 0
        self._lock = threading.Lock()

    def __call__(self, given: bytes, kept: bytes) -> bool:
        with self._lock:
            self.reached += 1
        time.sleep(self.seconds)
        return given == PASSWORD.encode()


def passwords(rig: Rig, clock: Clock, *given: str) -> list[bytes]:
    """Envelopes, each of a device of its own, so that they may come in any order."""
    devices = [new_device(f"till-{number}", clock) for number in range(len(given))]
    for device in devices:
        rig.registry.register_device(device.name, device.public_key)
    return [
        device.seal_password(password, ACCOUNT, Order(), rig.terms())
        for device, password in zip(devices, given, strict=True)
    ]


def test_guesses_at_once_are_no_more_than_one_after_the_other(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing = Hash(0.2)
    monkeypatch.setattr("twinveil.sealing.server.verify.is_password", hashing)
    envelopes = passwords(rig, clock, *[f"wrong {number}" for number in range(32)])
    with ThreadPoolExecutor(32) as pool:
        reasons = list(pool.map(lambda each: reason(rig, each), envelopes))
    assert hashing.reached == 10
    assert (reasons.count(Reason.PASSWORD), reasons.count(Reason.LOCKED)) == (10, 22)


def test_a_right_guess_gives_its_booking_back(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.sealing.server.verify.is_password", Hash(0))
    for envelope in passwords(rig, clock, *[PASSWORD] * 25):
        assert reason(rig, envelope) is Reason.PASSED


def test_a_guess_that_a_crash_cuts_short_was_a_miss(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(given: bytes, kept: bytes) -> bool:
        raise MemoryError

    monkeypatch.setattr("twinveil.sealing.server.verify.is_password", dies)
    for envelope in passwords(rig, clock, *[PASSWORD] * 10):
        with pytest.raises(MemoryError):
            rig.verifier.verify(envelope)
    assert reason(rig, rig.seal()) is Reason.LOCKED


def test_an_order_is_paid_once(rig: Rig) -> None:
    order = Order("bakery", 350)
    first, second = (rig.verifier.verify(rig.seal(order=order)) for _ in range(2))
    assert first.receipt is not None
    assert first.receipt == second.receipt
    changed = dataclasses.replace(order, amount=1)
    assert reason(rig, rig.seal(order=changed)) is Reason.ORDER
    assert rig.verifier.verify(rig.seal(order=Order("bakery", 350))).receipt != first.receipt


def test_features_of_another_recogniser_do_not_count(rig: Rig) -> None:
    other = Recogniser(synthetic.recogniser("another"))
    verifier = Verifier(rig.keys, rig.model, other, rig.store, clock=rig.clock)
    assert verifier.verify(rig.seal()).reason is Reason.ACCOUNT


def test_the_log_has_reasons_and_no_secrets(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    order = Order("canary payee", 777_123)
    rig.verifier.verify(rig.seal(order=order))
    rig.verifier.verify(rig.seal(STRANGER, order=order))
    rig.verifier.verify(rig.device.seal_password("canary password", ACCOUNT, order, rig.terms()))
    rig.verifier.verify(b"canary bytes")
    for wanted in ("passed, receipt", "(face)", "(password)", "(malformed)"):
        assert wanted in caplog.text
    for secret in ("canary", "777123", PAYMENT, ACCOUNT):
        assert secret not in caplog.text


def test_enrolment_refuses_what_does_not_fit(rig: Rig) -> None:
    def enrol(*pictures: bytes, account: str = "bob", password: str = "") -> str:
        return rig.registry.enrol(Enrolment(account, "", password, pictures).sealed(rig.keys.public))

    with pytest.raises(BadImage, match="picture 3 of the enrolment shows no such face"):
        enrol(face(FACE, 0), face(FACE, 1), face(STRANGER, 0), face(FACE, 2))
    with pytest.raises(BadImage, match="picture 2"):
        enrol(face(FACE, 0), b"no picture")
    with pytest.raises(BadInput, match="8 letters"):
        enrol(face(FACE, 0), password="short")
    with pytest.raises(BadInput, match="enrolled already"):
        enrol(face(FACE, 0), account=ACCOUNT)
    with pytest.raises(InvalidMessage):
        enrol(account="bob")
    with pytest.raises(InvalidMessage, match="not sealed to this server"):
        rig.registry.enrol(Enrolment("bob", "", "", (face(FACE, 0),)).sealed(ServerKeys.make().public))
    assert enrol(face(FACE, 0)) == "bob"


def test_a_device_keeps_its_key(rig: Rig) -> None:
    rig.registry.register_device(rig.device.name, rig.device.public_key)
    with pytest.raises(BadInput, match="another key"):
        rig.registry.register_device(rig.device.name, new_device("x").public_key)
    with pytest.raises(BadInput):
        rig.registry.register_device("no name", rig.device.public_key)


def test_registering_again_does_not_turn_the_counter_back(rig: Rig) -> None:
    first, second = rig.seal(), rig.seal()
    assert reason(rig, second) is Reason.PASSED
    rig.registry.register_device(rig.device.name, rig.device.public_key)
    assert reason(rig, first) is Reason.COUNTER


def test_a_restart_forgets_nothing(rig: Rig, tmp_path) -> None:
    old, new = rig.seal(), rig.seal()
    assert reason(rig, new) is Reason.PASSED
    rig.store.close()
    again = Verifier(
        rig.keys,
        rig.model,
        rig.recogniser,
        Store(tmp_path / "sealing.sqlite", rig.keys.storage),
        clock=rig.clock,
    )
    assert again.verify(new).reason is Reason.REPLAYED
    assert again.verify(old).reason is Reason.COUNTER
    assert again.verify(rig.seal()).reason is Reason.PASSED


def test_a_signature_of_another_purpose_does_not_count(rig: Rig) -> None:
    body = rig.seal()[:-SIGNATURE_BYTES]
    assert reason(rig, body + rig.device.key.sign(body)) is Reason.SIGNATURE
    assert reason(rig, sign_bytes(body, rig.device.key)) is Reason.PASSED
