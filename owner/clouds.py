"""The owner's way to both clouds: channels, S2's pinned key, and the models that lie there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from twinveil.crypto.public_key import PublicKey
from twinveil.errors import TwinveilError, UnknownModel
from twinveil.params import Params
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.services.keys import KnownKey
from twinveil.services.provision import list_models, remove_model
from twinveil.start.settings import OwnerSettings
from twinveil.transport.channel import Connection, Me, connect

DEADLINE = 60.0


@dataclass(frozen=True)
class CloudAddresses:
    """Where the clouds are, and how far S2's key is known."""

    me: Me
    cloud_s1: str
    cloud_s2: str
    s2_key: KnownKey
    wait: float = 10.0

    @classmethod
    def of(cls, settings: OwnerSettings) -> CloudAddresses:
        """As the owner's settings say."""
        return cls(
            settings.me(),
            settings.cloud_s1,
            settings.cloud_s2,
            settings.s2_key(),
            settings.connect_wait,
        )


@dataclass(frozen=True)
class Placed:
    """A model as the clouds hold it; either may miss it after an accident.

    trouble: why a cloud that holds it cannot use it, or empty.
    """

    entry: ModelEntry
    at_s1: bool
    at_s2: bool
    trouble: str = ""

    @property
    def whole(self) -> bool:
        return self.at_s1 and self.at_s2 and not self.trouble


@dataclass(frozen=True)
class Clouds:
    """Both clouds, answering, and S2's key."""

    s1: Connection
    s2: Connection
    key: PublicKey
    params: Params

    def models(self) -> list[Placed]:
        """Every model at either cloud, by name and version."""
        by_cloud = [list_models(link, DEADLINE) for link in (self.s1, self.s2)]
        named = [{(e.model, e.version): e for e in entries} for entries in by_cloud]
        placed = []
        for name in sorted(named[0].keys() | named[1].keys()):
            at_s1, at_s2 = (each.get(name) for each in named)
            there = [each for each in (at_s1, at_s2) if each is not None]
            trouble = next((each.trouble for each in there if each.trouble), "")
            entry = next((each for each in there if not each.trouble), there[0])
            placed.append(Placed(entry, at_s1 is not None, at_s2 is not None, trouble))
        return placed

    def remove(self, model: str, version: str) -> None:
        """From both clouds, also where one of them cannot. Raises UnknownModel if neither has it."""
        missing, failed = 0, list[TwinveilError]()
        for link in (self.s1, self.s2):
            try:
                remove_model(link, model, version, DEADLINE)
            except UnknownModel:
                missing += 1
            except TwinveilError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        if missing == 2:
            raise UnknownModel(f"neither cloud has a model {model} {version} (twinveil models lists them)")

    def forget(self, model: str, version: str) -> None:
        """After a failed import: take away what only one cloud has kept of it."""
        with suppress(TwinveilError):
            for placed in self.models():
                named = (placed.entry.model, placed.entry.version) == (model, version)
                if named and placed.at_s1 != placed.at_s2 and not placed.trouble:
                    self.remove(model, version)


@contextmanager
def reach(addresses: CloudAddresses) -> Iterator[Clouds]:
    """Both clouds. Raises PeerUnavailable or PeerMismatch, naming the one at fault."""
    with (
        connect(addresses.me, "cloud_s1", addresses.cloud_s1, addresses.wait) as s1,
        connect(addresses.me, "cloud_s2", addresses.cloud_s2, addresses.wait) as s2,
    ):
        key = addresses.s2_key.fetch(s2.channel)
        yield Clouds(s1, s2, key, addresses.s2_key.params(key))
