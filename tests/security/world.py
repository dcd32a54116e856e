"""Both clouds' real services in one process, and clients and a transport that do whatever a test wants.

    owner, user  ->  ProvisionS1, QueriesS1  --MemoryPeer-->  Conversations  <-  ProvisionS2, QueriesS2

Everything but TLS and gRPC is what runs in the field.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from cloud_s1.models import ModelsS1
from cloud_s1.provision import ProvisionS1
from cloud_s1.queries import QueriesS1
from cloud_s1.stock import Wish
from cloud_s1.tokens import Tokens
from cloud_s1.way_to_s2 import CloudS2, Tools
from cloud_s2.conversations import Conversations
from cloud_s2.models import ModelsS2
from cloud_s2.provision import ProvisionS2
from cloud_s2.queries import QueriesS2
from tests.crypto.crypto_keys import secret_key
from twinveil.cloud.budget import Budget
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.halves import answers
from twinveil.halves.model import blind_model, half_sizes
from twinveil.halves.pictures import split_pictures
from twinveil.network.plan import Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.rehearsal.clouds import finish
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.rpc.rounds_pb2 import Round
from twinveil.transport.identity import PeerIdentity
from twinveil.version import PROTOCOL_VERSION

Wrap = Callable[[Peer], Peer]

S1 = PeerIdentity("cloud_s1", "main", b"1" * 32, True)
OWNER = PeerIdentity("owner", "main", b"o" * 32, True)
USER = PeerIdentity("user", "main", b"u" * 32, True)

UNCLAIMED = 60.0
"""Seconds that a half waits for S1."""

MEMORY = 1 << 30
"""Bytes for items and queries at each cloud."""

FAILURES = 1 << 30
"""Pictures whose queries may fail: tests break off more than a user would."""

KEY_BITS = 256
"""Enough for the networks here; what is shown does not depend on it."""


@cache
def tiny_plan() -> Plan:
    """Every function once: SCVL, SACT, SMAP, SCT."""
    return Plan(
        (1, 3, 3),
        8,
        (
            Conv("conv", "image", 2, (2, 2), 1, 0, 8, 20),
            Relu("relu", "conv", 4, 8),
            MaxPool("pool", "relu", 2, 1, 0),
            Dense("dense", "pool", 2, 8, 20),
        ),
        0,
    )


def tiny_model(fill: int | None = None, seed: int = 0) -> QuantisedModel:
    """The plan is the same."""
    return filled(tiny_plan(), fill, seed)


def filled(plan: Plan, fill: int | None = None, seed: int = 0) -> QuantisedModel:
    """Random weights and biases, or all of them `fill`."""
    source = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...], bits: int) -> npt.NDArray[np.int64]:
        if fill is not None:
            return np.full(shape, fill, np.int64)
        half = 1 << (bits - 1)
        return source.integers(-half, half, shape, dtype=np.int64)

    nodes = [(node.name, plan.weight_shape(node), node.weight_bits) for node in plan.linear_nodes]
    return QuantisedModel(
        plan,
        {name: draw(shape, bits) for name, shape, bits in nodes},
        {name: draw(shape[:1], bits) for name, shape, bits in nodes},
    )


class Way:
    """Stands for cloud_s1.way_to_s2.CloudS2: S2 is in this process."""

    fingerprint = b""

    def __init__(self, world: World) -> None:
        self._world = world

    def tools(self, workers: Workers) -> Tools:
        return Tools(self._world.public, workers, self._world.params)

    def peer(self) -> Peer:
        inner = MemoryPeer(self._world.conversations.open(S1))
        return Wire(self._world.wrap(inner), inner)


@dataclass(frozen=True)
class Wire:
    """Stands for cloud_s1.way_to_s2.PeerS2."""

    outer: Peer
    inner: MemoryPeer

    def ask(self, message: Round) -> Round:
        return self.outer.ask(message)

    def close(self) -> None:
        self.outer.close()

    @property
    def left(self) -> bool:
        """Nothing ends a conversation but an error or a close."""
        return self.inner._closed


@dataclass(frozen=True)
class Query:
    """One user's halves, ready to be changed and sent."""

    s1: QueryHalf
    s2: QueryHalf


class World:
    """wrap: what stands between S1 and S2, for every new conversation."""

    def __init__(self, root: Path, key: SecretKey | None = None) -> None:
        own = key or secret_key(KEY_BITS)
        self.secret = SecretKey(own._p, own._q, own.public_key)
        self.public: PublicKey = own.public_key
        self.params = Params(self.public.bits, insecure_small_key=True)
        self.root = root
        self.wrap: Wrap = lambda peer: peer
        self.start()

    def start(self) -> None:
        """Both clouds as after a start: what they hold comes from their disks."""
        self.models2, self.shelves = ModelsS2(self.root / "s2"), Shelves()
        self.provision2 = ProvisionS2(self.models2, self.params, self.public, UNCLAIMED, self.shelves.forget)
        self.queries2 = QueriesS2(self.models2, self.params, self.public.n, UNCLAIMED)
        self.budget2 = Budget("cloud_s2", MEMORY)
        self.conversations = Conversations(
            self.secret,
            self.params,
            INLINE,
            self.models2,
            self.provision2,
            self.queries2,
            self.shelves,
            self.budget2,
        )
        self.models1 = ModelsS1(self.root / "s1")
        self.way = cast("CloudS2", Way(self))
        self.queries1 = QueriesS1(self.models1, self.way, INLINE, memory=MEMORY, tokens=Tokens(FAILURES, 1.0))
        self.provision1 = ProvisionS1(
            self.models1, self.way, INLINE, removed=lambda import_id: self.queries1.stock.forget(import_id)
        )

    def header(self, plan: Plan, name: str = "tiny", engines: tuple[str, ...] = ("packed",)) -> ModelHeader:
        return ModelHeader(
            protocol_version=PROTOCOL_VERSION,
            model=name,
            version="1",
            import_id=secrets.token_bytes(16),
            plan_json=plan.to_json(),
            engines=engines,
            key_fingerprint=bytes.fromhex(self.public.fingerprint),
            data_bytes=sum(half_sizes(plan, engines, self.params)),
        )

    def halves(self, model: QuantisedModel, engines: tuple[str, ...] = ("packed",)) -> tuple[bytes, bytes]:
        """An honest owner's halves for S1 and S2."""
        return blind_model(model, engines, self.params, self.public.n)

    def outsource(
        self,
        model: QuantisedModel,
        halves: tuple[bytes, bytes] | None = None,
        name: str = "tiny",
        engines: tuple[str, ...] = ("packed",),
        import_id: bytes | None = None,
        label_only: bool = False,
    ) -> ModelHeader:
        """Both calls of an owner, through both clouds."""
        header = self.header(model.plan, name, engines)
        header.import_id = import_id or header.import_id
        header.label_only = label_only
        for_s1, for_s2 = halves or self.halves(model, engines)
        waiting = self.provision2.outsource(header, iter([for_s2]), OWNER)
        next(waiting)
        finish(self.provision1.outsource(header, iter([for_s1]), OWNER))
        finish(waiting)
        return header

    def query(
        self,
        plan: Plan,
        image: npt.NDArray[np.uint8] | None = None,
        halves: tuple[bytes, bytes] | None = None,
        name: str = "tiny",
        engine: str = "packed",
        label_only: bool = False,
    ) -> Query:
        pictures = np.zeros((1, *plan.image_shape), np.uint8) if image is None else image[np.newaxis]
        for_s1, for_s2 = halves or split_pictures(pictures, plan, engine, self.params, self.public.n)
        shared = QueryHalf(
            protocol_version=PROTOCOL_VERSION,
            query_id=secrets.token_bytes(16),
            model=name,
            version="1",
            import_id=self.models1.store.find(name, "1").import_id,
            plan_hash=plan.hash,
            engine=engine,
            label_only=label_only,
            pictures=1,
        )
        made = QueryHalf(), QueryHalf()
        for half, data in zip(made, (for_s1, for_s2), strict=True):
            half.CopyFrom(shared)
            half.half = data
        return Query(*made)

    def make_items(self, count: int = 1, name: str = "tiny", ahead: bool = True) -> None:
        """So many lie ready, made in this thread; others give way to them unless they are made ahead."""
        record, stock = self.models1.store.find(name, "1"), self.queries1.stock
        while sum(held.lane.record.import_id == record.import_id for held in stock._ready) < count:
            stock._keep_ready(stock._make(Wish(record, ahead)))

    def ask(self, query: Query, caller: PeerIdentity = USER) -> tuple[bytes, bytes]:
        """Both calls of a user, through both clouds: the halves of the answer."""
        if query.s1.engine == "packed":
            self.make_items(query.s1.pictures, query.s1.model, ahead=False)
        waiting = self.queries2.classify(query.s2, caller)
        next(waiting)
        half = finish(self.queries1.classify(query.s1, caller)).half
        return half, finish(waiting).half

    def classify(
        self, model: QuantisedModel, image: npt.NDArray[np.uint8], engine: str = "packed", name: str = "tiny"
    ) -> npt.NDArray[np.int64]:
        """An honest user's class vector."""
        halves = self.ask(self.query(model.plan, image, name=name, engine=engine))
        vectors: npt.NDArray[np.int64] = answers.class_vectors(*halves, model.plan, 1)
        return vectors[0]


def other_caller(caller: PeerIdentity) -> PeerIdentity:
    """The same role with another certificate."""
    return replace(caller, name="other", fingerprint=b"x" * 32)


def blinding_of(value: int, n: mpz) -> tuple[int, int]:
    """Halves A, M^-1 of any plaintext, as a client may make them."""
    m = secrets.randbelow(int(n) - 1) + 1
    return int(value * mpz(m) % n), int(pow(m, -1, int(n)))
