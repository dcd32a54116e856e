"""What the sealing server offers: enrolment to the operator, terms and verification to devices."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import start_http_server

from twinveil.errors import BadConfiguration
from twinveil.sealing.envelope import SIGN_VERSIONS
from twinveil.sealing.factors import factor_model
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import server_keys
from twinveil.sealing.network_files import load_network
from twinveil.sealing.server.service import SealingService
from twinveil.sealing.server.store import Store
from twinveil.sealing.server.verify import Policy
from twinveil.services.sealing import SealingServicer
from twinveil.services.status import Facts, StatusServicer
from twinveil.start.settings import SealingSettings
from twinveil.transport.address import is_loopback, split
from twinveil.transport.server import Service
from twinveil.values import whole

STATE, DATABASE = "sealing", "sealing.sqlite"


def build(settings: SealingSettings) -> Sequence[Service]:
    """The services of this process, from its settings. Raises BadConfiguration, BadInput, BadPlan."""
    folder = settings.state / STATE
    keys = server_keys(folder)
    policy = Policy(
        _sign_versions(settings.sign_versions),
        settings.clock_window,
        settings.most_misses,
        settings.miss_window,
    )
    service = SealingService(
        keys,
        factor_model(load_network(settings.networks / settings.factor)),
        Recogniser(load_network(settings.networks / "recogniser")),
        Store(folder / DATABASE, keys.storage),
        policy,
    )
    if settings.metrics is not None:
        _expose(service, settings.metrics)
    facts = Facts(key_fingerprint=bytes.fromhex(keys.public.fingerprint))
    return [StatusServicer(settings.role, lambda: facts), SealingServicer(service)]


def _sign_versions(text: str) -> frozenset[int]:
    try:
        found = frozenset(whole(part.strip()) for part in text.split(","))
    except ValueError:
        found = frozenset()
    if not found or not found.issubset(SIGN_VERSIONS):
        known = ", ".join(map(str, SIGN_VERSIONS))
        raise BadConfiguration(f"--sign-versions must be some of {known}, with commas between")
    return found


def _expose(service: SealingService, address: str) -> None:
    host, port = split(address)
    if not is_loopback(host):
        raise BadConfiguration(f"--metrics {address}: metrics are served in plaintext, so on loopback only")
    try:
        start_http_server(port, host.strip("[]"), service.metrics.registry)
    except OSError as error:
        raise BadConfiguration(f"--metrics {address}: {error.strerror}") from None
