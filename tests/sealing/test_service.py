"""The service over mutual TLS: what a device learns, and what is counted.

Every certificate is shown to every RPC in tests/transport/test_authorisation.py.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from prometheus_client import generate_latest

from owner.sealing.rig import ACCOUNT, FACE, PAYMENT, STRANGER, face, new_device
from tests.sealing.conftest import Live
from twinveil.errors import BadConfiguration, BadInput, NotAllowed, PeerMismatch, TooMuch
from twinveil.rpc.sealing_pb2 import VerifyReply, VerifyRequest
from twinveil.rpc.sealing_pb2_grpc import SealingStub
from twinveil.sealing.content import Order
from twinveil.sealing.enrolment import Enrolment
from twinveil.sealing.keys import PublicKeys, ServerKeys
from twinveil.sealing.reasons import Outcome
from twinveil.services.sealing import SealingServer
from twinveil.start.settings import DeviceSettings
from twinveil.transport.channel import connect
from twinveil.transport.status import from_rpc_error
from user.sealing.session import Session, check_pin, open_session


def settings(live: Live, **more: object) -> DeviceSettings:
    return DeviceSettings(
        state=live.folder / "state",
        name="test",
        tls=live.tls("user"),
        sealing=live.address,
        device="till-7",
        **more,  # type: ignore[arg-type]
    )


def enrol(live: Live, device: Session) -> None:
    """By the operator, over the wire."""
    with connect(live.me("owner"), "owner", live.address) as link:
        server = SealingServer(link)
        server.register_device(device.device.name, device.device.public_key)
        keys, _, _ = server.terms()
        enrolment = Enrolment(ACCOUNT, PAYMENT, "", tuple(face(FACE, shot) for shot in range(3)))
        assert server.enrol(enrolment.sealed(keys), replace=False) == ACCOUNT
        with pytest.raises(BadInput, match="enrolled already"):
            server.enrol(enrolment.sealed(keys), replace=False)


def test_the_whole_way_over_the_wire(live: Live) -> None:
    with open_session(settings(live, sign_version=3)) as session:
        enrol(live, session)
        order = Order("bakery", 350)
        assert session.send_picture(face(STRANGER, 0), ACCOUNT, order).outcome is Outcome.TRY_ANOTHER_PICTURE
        answer = session.send_picture(face(FACE, 9), ACCOUNT, order)
        assert answer.outcome is Outcome.PASSED
        assert answer.receipt is not None
        assert (answer.receipt.payee, answer.receipt.payment) == ("bakery", PAYMENT)
        assert session.send_password("wrong", ACCOUNT, order).outcome is Outcome.REFUSED
    text = generate_latest(live.service.metrics.registry).decode()
    for line in (
        'twinveil_sealing_verifications_total{outcome="passed",reason="passed"} 1.0',
        'twinveil_sealing_verifications_total{outcome="try another picture",reason="face"} 1.0',
        'twinveil_sealing_verifications_total{outcome="refused",reason="password"} 1.0',
        'twinveil_sealing_verifications_total{outcome="refused",reason="replayed"} 0.0',
        'twinveil_sealing_stage_seconds_count{stage="factor"} 2.0',
    ):
        assert line in text


@pytest.mark.parametrize("envelope", [b"", b"garbage", bytes(3000)])
def test_a_device_learns_no_reason(live: Live, envelope: bytes) -> None:
    with connect(live.me("user"), "owner", live.address) as link:
        reply = SealingStub(link.channel).Verify(VerifyRequest(envelope=envelope), timeout=5)
        assert reply == VerifyReply(outcome=VerifyReply.REFUSED)
        foreign = new_device("stranger").seal(face(FACE, 0), ACCOUNT, Order(), live.rig.terms())
        again = SealingStub(link.channel).Verify(VerifyRequest(envelope=foreign), timeout=5)
        assert again.SerializeToString() == reply.SerializeToString()


def test_a_device_may_not_enrol_and_the_operator_may_not_pay(live: Live) -> None:
    with connect(live.me("user"), "owner", live.address) as link:
        server = SealingServer(link)
        with pytest.raises(NotAllowed):
            server.register_device("till-7", bytes(32))
        with pytest.raises(NotAllowed):
            server.enrol(b"", replace=False)
    with connect(live.me("owner"), "owner", live.address) as link, pytest.raises(NotAllowed):
        SealingServer(link).verify(b"")


def test_too_large_an_envelope_is_said(live: Live) -> None:
    with connect(live.me("user"), "owner", live.address) as link:
        with pytest.raises(TooMuch):
            SealingServer(link).verify(bytes((3 << 19) + 1))
        with pytest.raises(grpc.RpcError) as caught:
            SealingStub(link.channel).Verify(VerifyRequest(envelope=bytes(3 << 20)), timeout=5)
        assert isinstance(from_rpc_error(caught.value, "it"), TooMuch)


def test_the_network_is_fetched_once_and_again_where_it_is_damaged(live: Live) -> None:
    with open_session(settings(live)) as session:
        assert session.terms.model.network.digest == live.rig.model.network.digest
    [folder] = (live.folder / "state" / "device" / "networks").iterdir()
    written = (folder / "network.safetensors").stat().st_mtime_ns
    with open_session(settings(live)):
        pass
    assert (folder / "network.safetensors").stat().st_mtime_ns == written
    (folder / "network.safetensors").write_bytes(b"damaged")
    with open_session(settings(live)) as session:
        assert session.terms.model.network.digest == live.rig.model.network.digest
    with connect(live.me("user"), "owner", live.address) as link, pytest.raises(PeerMismatch):
        SealingServer(link).network(bytes(32))


def test_first_contacts_at_once_pin_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Barrier(2)
    fsync = os.fsync

    def both(handle: int) -> None:
        with suppress(threading.BrokenBarrierError):
            begun.wait(0.5)  # neither has written yet
        fsync(handle)

    monkeypatch.setattr(os, "fsync", both)

    def contact(keys: PublicKeys) -> str:
        try:
            check_pin(tmp_path / "pin", keys, None)
        except PeerMismatch:
            return "refused"
        return keys.fingerprint

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(contact, [ServerKeys.make().public, ServerKeys.make().public]))
    assert sorted(found) == sorted(["refused", (tmp_path / "pin").read_text().strip()])


def test_keys_are_pinned(live: Live) -> None:
    pin = live.folder / "state" / "device" / "sealing.pin"
    with open_session(settings(live)):
        assert pin.read_text().strip() == live.rig.keys.public.fingerprint
    pin.write_text("00" * 32 + "\n")
    with pytest.raises(PeerMismatch, match="are pinned"), open_session(settings(live)):
        pass
    pin.unlink()
    wanted = settings(live, sealing_fingerprint="11" * 32)
    with pytest.raises(PeerMismatch, match="1111"), open_session(wanted):
        pass
    assert not pin.exists()


def test_a_sign_version_that_is_not_accepted_is_said_before_sealing(live: Live) -> None:
    wanted = settings(live, sign_version=9)
    said = pytest.raises(BadConfiguration, match="does not accept sign_version 9, but 1, 2, 3")
    with said, open_session(wanted):
        pass


def test_nothing_of_a_device_goes_into_its_state_but_what_it_needs(live: Live, tmp_path: Path) -> None:
    with open_session(settings(live)) as session:
        enrol(live, session)
        session.send_picture(face(FACE, 9), ACCOUNT, Order())
    found = {path.name for path in (tmp_path / "state" / "device").iterdir()}
    assert found == {"name", "device.key", "counter", "lock", "sealing.pin", "networks"}
