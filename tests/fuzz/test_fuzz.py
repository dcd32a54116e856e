"""A bounded run of every fuzzing target, and what each finds when a parser is wrong."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_s1.services import build as build_s1
from cloud_s2.services import build as build_s2
from owner.sealing.services import build as build_sealing
from owner.services import build as build_owner
from tests.crypto.crypto_keys import secret_key
from tests.fuzz.fuzz import Report, Target, run
from tests.fuzz.fuzz_steps import Conversations
from tests.fuzz.fuzz_targets import targets
from tests.security.ends import attempt
from tests.security.stand_ins import Registered
from tests.security.world import KEY_BITS, tiny_plan
from twinveil import rpc
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import TwinveilError
from twinveil.sealing import synthetic
from twinveil.sealing.network_files import save_network
from twinveil.start.settings import (
    CloudS1Settings,
    CloudS2Settings,
    OwnerSettings,
    SealingSettings,
    UserSettings,
)
from twinveil.wording import sanitised
from user.services import build as build_user

pytestmark = pytest.mark.slow

COUNT = 80
CLOUD = ("Status.GetStatus", *(f"Provision.{name}" for name in ("Outsource", "ListModels", "RemoveModel")))
CALLS = {
    "cloud_s1": (*CLOUD, "Inference.Classify"),
    "cloud_s2": (
        *("Status.GetStatus", "Keys.GetPublicKey", *CLOUD[1:]),
        *("Inference.Classify", "Rounds.Converse"),
    ),
    "owner": ("Status.GetStatus", "Catalogue.ListModels", "Catalogue.GetModel"),
    "user": ("Status.GetStatus", "Gateway.Classify"),
    "sealing": (
        "Status.GetStatus",
        *(f"Sealing.{name}" for name in ("GetTerms", "GetNetwork", "RegisterDevice", "Enrol", "Verify")),
    ),
}
NAMES = (
    *("items", "queries", "imports"),
    *(f"{role}.{method}" for role, methods in CALLS.items() for method in methods),
    *("replies-to-user", "replies-to-device", "openings", "chunks", "rounds", "garbled-circuits"),
    *("base-transfers", "ciphertexts", "plans", "cards", "records", "public-keys", "secret-keys"),
    *("served-keys", "answers", "pictures", "certificates", "project", "kits", "settings", "ready-files"),
    *("pins", "secret-key-files", "model-files", "stores", "catalogue-files", "views", "rehearsals"),
    *("mask-files", "mask-studies", "data-sets", "sealed-files", "sealing-networks", "sealing-state"),
    "device-state",
)
CONVERSATIONS = ("items", "queries", "imports")
CATALOGUE = "owner.Catalogue.GetModel"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return dict(targets(tmp_path_factory.mktemp("fuzz")))


def test_every_target_is_run(found: dict[str, Target]) -> None:
    assert tuple(found) == NAMES


def test_every_rpc_that_is_declared_is_a_target() -> None:
    """A new RPC without one fails here."""
    declared = {
        f"{service.name}.{method.name}"
        for module in iter_modules(rpc.__path__)
        if module.name.endswith("_pb2")
        for service in import_module(f"twinveil.rpc.{module.name}").DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len(declared) >= 15
    assert {method for methods in CALLS.values() for method in methods} == declared


def test_every_service_of_every_role_is_a_target(tmp_path: Path) -> None:
    """Of each role's services as they are built in the field."""
    networks = tmp_path / "networks"
    save_network(networks / "variational", synthetic.variational())
    save_network(networks / "recogniser", synthetic.recogniser())
    (tmp_path / "cloud_s2").mkdir()
    secret_key().save(tmp_path / "cloud_s2" / "secret_key.json")
    common = {"insecure_plaintext": True, "insecure_small_key": True}
    built = {
        "cloud_s1": build_s1(CloudS1Settings(state=tmp_path / "cloud_s1", workers=1, **common)),
        "cloud_s2": build_s2(
            CloudS2Settings(state=tmp_path / "cloud_s2", key_bits=KEY_BITS, workers=1, **common)
        ),
        "owner": build_owner(OwnerSettings(state=tmp_path / "owner", **common)),
        "user": build_user(UserSettings(state=tmp_path / "user", **common)),
        "sealing": build_sealing(SealingSettings(state=tmp_path / "sealing", networks=networks, **common)),
    }
    for role, services in built.items():
        assert {service.service_name.rpartition(".")[2] for service in services} == {
            method.partition(".")[0] for method in CALLS[role]
        }, role
        assert set(Registered(services).methods) == set(CALLS[role]), role


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_bounded_run(found: dict[str, Target], name: str) -> None:
    report = run(found[name], COUNT, seed=random.SystemRandom().randrange(1 << 40))
    assert not report.crashes
    assert report.good, report.line()


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_longer_run(found: dict[str, Target], name: str) -> None:
    report = run(found[name], 300 if name in CONVERSATIONS else 1000, seed=7)
    assert report.good, report.line()


@pytest.mark.parametrize(
    "name", ["plans", "records", "served-keys", "settings", "chunks", "user.Gateway.Classify"]
)
def test_hypothesis_drives_the_parsers(found: dict[str, Target], name: str) -> None:
    """The same inputs, chosen and shrunk by hypothesis."""

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def drive(source: random.Random) -> None:
        with suppress(TwinveilError):
            found[name](source)

    drive()


def test_a_crash_is_reported() -> None:
    def wrong(source: random.Random) -> None:
        if source.random() < 0.1:
            raise KeyError("nodes")

    report = run(wrong, 100, seed=1)
    assert list(report.crashes)
    assert not report.good
    assert report.ends["CRASH"] > 1


def break_parser(monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object]) -> None:
    """Ciphertexts of a wrong length end in `fault`, at both clouds."""
    whole = PublicKey._check_size

    def check(key: PublicKey, data: bytes, count: int) -> None:
        if len(data) % key.ciphertext_bytes:
            fault()
        whole(key, data, count)

    monkeypatch.setattr(PublicKey, "_check_size", check)


def forget() -> None:
    raise KeyError("ciphertexts")


@pytest.mark.parametrize("side", ["request", "reply"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_broken_step_is_reported(
    found: dict[str, Target], name: str, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_parser(monkeypatch, forget)
    monkeypatch.setattr(found[name], "places", [each for each in found[name].places if each.side == side])
    report = run(found[name], 24, seed=1)
    assert any(crash.startswith("KeyError at ") for crash in report.crashes)
    assert not report.good


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        (lambda: signal.raise_signal(signal.SIGKILL), lambda it: "a fork died of SIGKILL" in it.crashes),
        (lambda: time.sleep(1000), lambda it: "a fork died of SIGALRM" in it.crashes),
        (lambda: b"1" * (100 << 20), lambda it: it.growth > 80 << 20),
    ],
    ids=["dies", "hangs", "grows"],
)
def test_what_becomes_of_a_fork_is_reported(
    found: dict[str, Target],
    fault: Callable[[], object],
    sign: Callable[[Report], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_parser(monkeypatch, fault)
    monkeypatch.setattr("tests.fuzz.fuzz_steps.LIMIT", 1)
    target, report = found["imports"], Report()
    assert isinstance(target, Conversations)
    for index, end in target.ends((index, random.Random(f"1 {index}")) for index in range(1, 15)):
        report.add(index, end)
    assert sign(report)
    assert not report.good


def test_every_step_of_every_conversation_is_a_place(found: dict[str, Target]) -> None:
    steps = {
        name: Counter((place.kind, place.side) for place in found[name].places) for name in CONVERSATIONS
    }
    assert set(steps["queries"]) == {
        (kind, side)
        for kind in ("packed", "packed label", "textbook", "textbook label")
        for side in ("request", "reply")
    }
    layers = len(tiny_plan().linear_nodes)
    assert set(steps["imports"].values()) == {1 + layers + 1 + 2 * layers + 1}
    assert set(steps["items"].values()) == {5}
    assert {steps["queries"]["packed", side] for side in ("request", "reply")} == {3}
    assert steps["queries"]["packed label", "request"] == 4
    assert min(count for (kind, _), count in steps["queries"].items() if "textbook" in kind) >= 8


def test_an_error_that_nobody_planned_is_a_crash_behind_a_boundary() -> None:
    def boundary() -> None:
        try:
            forget()
        except KeyError as error:
            raise sanitised(error) from error

    assert attempt(boundary).crash.startswith("KeyError at ")
