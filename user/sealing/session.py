"""A device that is in touch with its sealing server: keys pinned, the factor's network at hand.

STATE/device/    name, signing key, counter
             sealing.pin          the server's keys as they were at the first contact
             networks/DIGEST/     networks, fetched once
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadConfiguration, BadInput, BadPlan, PeerMismatch, TwinveilError
from twinveil.files import create, private_folder
from twinveil.sealing.content import Order
from twinveil.sealing.device import Device, Terms
from twinveil.sealing.factors import FirstFactor, factor_model
from twinveil.sealing.keys import PublicKeys
from twinveil.sealing.network_files import JSON_FILE, load_network, save_network
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from twinveil.services.sealing import SealingServer
from twinveil.start.settings import DeviceSettings
from twinveil.transport.channel import connect

_PIN = "sealing.pin"
SERVER_ROLE = "owner"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """All that a device learns of an envelope."""

    outcome: Outcome
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Session:
    device: Device
    terms: Terms
    server: SealingServer

    def send_picture(self, picture: bytes, account: str, order: Order) -> Answer:
        """Seals a picture (PNG of to_png) and sends it. Raises BadImage, or what the transport raises."""
        return Answer(*self.server.verify(self.device.seal(picture, account, order, self.terms)))

    def send_password(self, password: str, account: str, order: Order) -> Answer:
        return Answer(*self.server.verify(self.device.seal_password(password, account, order, self.terms)))


def state_folder(settings: DeviceSettings) -> Path:
    return settings.state / "device"


def open_device(settings: DeviceSettings) -> Device:
    """This device, made at the first call. Raises BadInput."""
    folder = state_folder(settings)
    private_folder(folder)
    return Device.open(folder, settings.device)


@contextmanager
def open_session(settings: DeviceSettings) -> Iterator[Session]:
    """Connected until the block ends. Raises PeerUnavailable, PeerMismatch, BadInput."""
    device = open_device(settings)
    with connect(settings.me(), SERVER_ROLE, settings.sealing, settings.connect_wait) as link:
        server = SealingServer(link)
        keys, digest, versions = server.terms()
        folder = state_folder(settings)
        check_pin(folder / _PIN, keys, settings.sealing_fingerprint)
        if settings.sign_version not in versions:
            accepted = ", ".join(map(str, versions))
            raise BadConfiguration(
                f"the sealing server does not accept sign_version {settings.sign_version}, but {accepted}"
            )
        model = _model(folder / "networks" / digest.hex(), server, digest)
        yield Session(device, Terms(keys, model, settings.sign_version), server)


def check_pin(pin: Path, keys: PublicKeys, wanted: str | None) -> None:
    """The server's keys are the wanted ones, or those of the first contact. Raises PeerMismatch."""
    if (wanted or keys.fingerprint).lower() == keys.fingerprint and not pin.exists():
        with suppress(FileExistsError):  # another first contact was quicker: its keys are the pinned ones
            create(pin, keys.fingerprint.encode() + b"\n")
    try:
        known = wanted or pin.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise BadInput(f"{pin} cannot be read: it holds the sealing server's fingerprint") from None
    if known.lower() != keys.fingerprint:
        raise PeerMismatch(
            f"the sealing server has the keys {keys.fingerprint[:16]}..., but {known[:16]}... are pinned: "
            f"if they were replaced on purpose, remove {pin}"
        )


def _model(folder: Path, server: SealingServer, digest: bytes) -> FirstFactor:
    """The network from the device's folder, or from the server where it is not there or damaged."""
    if (folder / JSON_FILE).exists():
        try:
            network = load_network(folder)
            if network.digest == digest:
                return factor_model(network)
            raise BadPlan(f"{folder} holds another network")
        except TwinveilError as error:
            log.warning("fetched again: %s", error)
    network = server.network(digest)
    save_network(folder, network)
    return factor_model(network)
