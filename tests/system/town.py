"""A local cluster with small keys, and what tests do to it as owner, user and newcomer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from owner.catalogue import CatalogueEntry
from owner.clouds import CloudAddresses as OwnerContact
from owner.clouds import Placed, reach
from owner.outsource import Offer
from owner.publish import publish
from tests.networks import edge_images, random_image, random_model
from twinveil.network.card import ModelCard
from twinveil.network.folder import StoredModel, save_model
from twinveil.network.plan import QuantisedModel
from twinveil.rpc.status_pb2 import GetStatusReply
from twinveil.services.keys import PIN, KnownKey
from twinveil.start.local_cluster import LocalCluster
from twinveil.transport.certificates import issue
from twinveil.transport.channel import Me, connect
from twinveil.verbs.serve_all import cluster_options
from user.client import Client
from user.contact import Contact as UserContact

SMALL = "--insecure-small-key"
ROOT = Path(__file__).parents[2]


def by_way_of(module: str, command: Sequence[str]) -> list[str]:
    """The same command line through a module of the tests, which processes do not find by themselves."""
    at = command.index("-m") + 1
    return ["env", f"PYTHONPATH={ROOT}", *command[:at], module, *command[at:]]


class Town:
    """Four processes; `key_bits` below 2048 with the insecure setting."""

    def __init__(self, cluster: LocalCluster, key_bits: int) -> None:
        self.cluster = cluster
        self.key_bits = key_bits
        self.small = key_bits < 2048

    def owner(self) -> OwnerContact:
        where = self.cluster
        return OwnerContact(
            where.me("owner"),
            where.addresses["cloud_s1"],
            where.addresses["cloud_s2"],
            KnownKey(where.state("owner") / PIN, insecure_small_key=self.small),
        )

    def user(self) -> UserContact:
        return UserContact.configured(self.cluster.folder, insecure_small_key=self.small)

    def another_user(self, name: str = "other") -> UserContact:
        """With a certificate of its own."""
        where = self.cluster
        me = Me("user", name, issue(where.authority, "user", name, where.folder / name))
        return replace(self.user(), me=me)

    def client(self) -> Client:
        return Client(self.user())

    def outsource(
        self,
        stored: StoredModel,
        name: str,
        engines: Sequence[str] = ("packed",),
        label_only: bool = False,
        version: str = "1",
    ) -> CatalogueEntry:
        with reach(self.owner()) as clouds:
            wanted = Offer(name, version, engines, label_only)
            return publish(stored, wanted, clouds, self.cluster.state("owner"))

    def models(self) -> dict[tuple[str, str], Placed]:
        with reach(self.owner()) as clouds:
            return {(each.entry.model, each.entry.version): each for each in clouds.models()}

    def status(self, role: str) -> GetStatusReply:
        with connect(self.cluster.me("user"), role, self.cluster.addresses[role]) as link:
            return link.status

    def running(self) -> dict[str, int]:
        return {role: self.status(role).running_queries for role in ("cloud_s1", "cloud_s2")}

    def command(self, verb: str, *arguments: str) -> list[str]:
        """A verb's command line, for this cluster."""
        reaching = ["--cluster", str(self.cluster.folder), *([SMALL] if self.small else [])]
        return [sys.executable, "-m", "twinveil.cli", verb, *reaching, *arguments]

    def twinveil(self, verb: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(verb, *arguments), capture_output=True, text=True, timeout=60, check=False, **options
        )


@contextmanager
def town(folder: Path, key_bits: int = 512, record: Path | None = None, prepare: int = 1) -> Any:
    """prepare: items that S1 keeps ready; few, as most tests want none."""
    options = dict(cluster_options(key_bits, key_bits < 2048, record))
    options["cloud_s1"] = [*options["cloud_s1"], f"--prepare={prepare}"]
    with LocalCluster(folder, options) as cluster:
        yield Town(cluster, key_bits)


def stored(model: QuantisedModel, folder: Path | None = None) -> StoredModel:
    """A model with a card, as training would leave it; also on disk if `folder` is given."""
    plan = model.plan
    card = ModelCard(
        name="random",
        version="1",
        data_set="random",
        image_shape=plan.image_shape,
        class_names=tuple(f"class {index}" for index in range(plan.output.out_features)),
        polarity="any",
        crop="none",
        seed=0,
        epochs=0,
        training_pictures=0,
        held_out_pictures=0,
        accuracy_float=0.0,
        accuracy_fixed=0.0,
        plan_hash=plan.hash.hex(),
        twinveil_version="0",
    )
    if folder is not None:
        save_model(folder, model, card)
    return StoredModel(model, card)


def small_model(seed: int, products: int = 500, grey: bool = False) -> QuantisedModel:
    """A random network of two classes or more and at most so many products; `grey`: one channel."""
    for attempt in range(1000):
        model = random_model(1000 * seed + attempt)
        plan = model.plan
        fits = sum(plan.products(node) for node in plan.linear_nodes) <= products
        if fits and plan.output.out_features >= 2 and not (grey and plan.image_shape[0] != 1):
            return model
    raise RuntimeError("no such network among a thousand")


def pictures(model: QuantisedModel, count: int, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Extreme pictures first, then random ones."""
    made = [*edge_images(model.plan), *(random_image(model.plan, seed + index) for index in range(count))]
    return made[:count]


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
