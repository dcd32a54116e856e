"""The service shells: what they refuse, how they stream; a caller who goes away frees what it held."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence

import grpc
import pytest

from twinveil.errors import InvalidMessage, ModelExists, PeerMismatch, TooMuch, TwinveilError, UnknownModel
from twinveil.rpc.catalogue_pb2 import GetModelReply, GetModelRequest
from twinveil.rpc.catalogue_pb2_grpc import CatalogueStub
from twinveil.rpc.gateway_pb2 import Picture, Result
from twinveil.rpc.gateway_pb2_grpc import GatewayStub
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.inference_pb2_grpc import InferenceStub
from twinveil.rpc.keys_pb2 import GetPublicKeyRequest
from twinveil.rpc.keys_pb2_grpc import KeysStub
from twinveil.rpc.provision_pb2 import ModelChunk, ModelHeader, RemoveModelRequest
from twinveil.rpc.provision_pb2_grpc import ProvisionStub
from twinveil.rpc.types_pb2 import ListModelsRequest, ModelEntry, Progress
from twinveil.services.catalogue import CatalogueServicer
from twinveil.services.gateway import GatewayServicer
from twinveil.services.inference import InferenceServicer
from twinveil.services.keys import KeysServicer
from twinveil.services.provision import ProvisionServicer
from twinveil.transport.channel import Me, open_channel
from twinveil.transport.identity import PeerIdentity
from twinveil.transport.limits import CallLimits
from twinveil.transport.server import Server, ServerSettings, start
from twinveil.transport.status import from_rpc_error
from twinveil.version import PROTOCOL_VERSION

CLASSIFY = "/twinveil.rpc.Inference/Classify"


class Cloud:
    """Handlers that remember what they got; a query named 'endless' goes on until it is closed."""

    def __init__(self) -> None:
        self.callers: list[PeerIdentity] = []
        self.stored: dict[str, bytes] = {}
        self.partial = 0
        self.freed = threading.Event()
        self.begun = threading.Event()

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        self.callers.append(caller)
        stages = 1 << 30 if query.model == "endless" else 3
        try:
            for stage in range(stages):
                self.begun.set()
                yield Progress(stage=stage, stages=stages, label=f"SCVL conv{stage}")
            return AnswerHalf(half=query.half[::-1])
        finally:
            self.freed.set()

    def outsource(
        self, header: ModelHeader, data: Iterator[bytes], caller: PeerIdentity
    ) -> Generator[Progress, None, ModelEntry]:
        if header.model in self.stored:
            raise ModelExists(f"{header.model} is there already")
        self.partial += 1
        try:
            received = b""
            for piece in data:
                received += piece
                yield Progress(stage=len(received), stages=header.data_bytes, label="receiving")
            self.stored[header.model] = received
            return ModelEntry(model=header.model, version=header.version)
        finally:
            self.partial -= 1
            self.freed.set()

    def list_models(self, caller: PeerIdentity) -> Sequence[ModelEntry]:
        return [ModelEntry(model=name, version="1") for name in self.stored]

    def remove_model(self, model: str, version: str, caller: PeerIdentity) -> None:
        if self.stored.pop(model, None) is None:
            raise UnknownModel(f"no model {model} {version}")

    def get_model(self, model: str, version: str) -> GetModelReply:
        return GetModelReply(plan_json="{}", entry=ModelEntry(model=model, version=version or "newest"))


class Gateway:
    def classify(self, picture: Picture, caller: PeerIdentity) -> Generator[Progress, None, Result]:
        yield Progress(label=str(caller))
        return Result(label=len(picture.file), vector=[-3, 5])


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def server(cloud: Cloud) -> Iterator[Server]:
    services = [
        InferenceServicer(cloud),
        ProvisionServicer(cloud, max_model_bytes=8 << 20),
        KeysServicer("{}", b"f" * 32),
        CatalogueServicer(cloud),
        GatewayServicer(Gateway()),
    ]
    settings = ServerSettings(
        "cloud_s1",
        "127.0.0.1:0",
        None,
        insecure_plaintext=True,
        max_calls=8,
        limits={CLASSIFY: CallLimits(at_once=2)},
    )
    running = start(settings, services)
    yield running
    running.stop(0)


@pytest.fixture
def user(server: Server) -> Iterator[grpc.Channel]:
    with open_channel(Me("user", "alice", None), "cloud_s1", f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def owner(server: Server) -> Iterator[grpc.Channel]:
    with open_channel(Me("owner", "bob", None), "cloud_s1", f"127.0.0.1:{server.port}") as channel:
        yield channel


def query(**changes: object) -> QueryHalf:
    half = QueryHalf(
        protocol_version=PROTOCOL_VERSION,
        query_id=bytes(16),
        model="digits",
        version="1",
        plan_hash=bytes(32),
        engine="packed",
        pictures=1,
        half=b"abc",
        import_id=bytes(16),
    )
    for name, value in changes.items():
        setattr(half, name, value)
    return half


def raised(error: grpc.RpcError) -> TwinveilError:
    return from_rpc_error(error, "the cloud")


def test_progress_and_then_the_answer(user: grpc.Channel, cloud: Cloud) -> None:
    events = list(InferenceStub(user).Classify(query()))
    assert [event.progress.label for event in events[:-1]] == [f"SCVL conv{stage}" for stage in range(3)]
    assert events[-1].answer.half == b"cba"
    assert str(cloud.callers[0]) == "user/alice"
    assert cloud.freed.is_set()


BAD_QUERIES: list[tuple[dict[str, object], type[TwinveilError]]] = [
    ({"protocol_version": 0}, PeerMismatch),
    ({"protocol_version": PROTOCOL_VERSION + 1}, PeerMismatch),
    ({"query_id": bytes(15)}, InvalidMessage),
    ({"query_id": bytes(17)}, InvalidMessage),
    ({"plan_hash": b""}, InvalidMessage),
    ({"import_id": b""}, InvalidMessage),
    ({"model": ""}, InvalidMessage),
    ({"model": "../keys"}, InvalidMessage),
    ({"model": "a" * 65}, InvalidMessage),
    ({"version": "1\n"}, InvalidMessage),
    ({"pictures": 0}, InvalidMessage),
    ({"half": b""}, InvalidMessage),
]


@pytest.mark.parametrize(("changes", "kind"), BAD_QUERIES)
def test_malformed_queries_reach_no_handler(
    user: grpc.Channel, cloud: Cloud, changes: dict[str, object], kind: type[TwinveilError]
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(InferenceStub(user).Classify(query(**changes)))
    assert type(raised(caught.value)) is kind
    assert cloud.callers == []


def test_who_speaks_another_version_is_named(user: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(InferenceStub(user).Classify(query(protocol_version=1)))
    assert str(raised(caught.value)) == (
        f"user/alice speaks protocol version 1, this cloud speaks {PROTOCOL_VERSION}: "
        "bring both to the same release"
    )


def test_a_user_who_goes_away_frees_the_query(user: grpc.Channel, cloud: Cloud) -> None:
    call = InferenceStub(user).Classify(query(model="endless"))
    next(iter(call))
    call.cancel()
    assert cloud.freed.wait(5)


def test_a_deadline_frees_the_query(user: grpc.Channel, cloud: Cloud) -> None:
    with pytest.raises(grpc.RpcError):
        list(InferenceStub(user).Classify(query(model="endless"), timeout=0.3))
    assert cloud.freed.wait(5)


def test_queries_past_the_limit_are_refused_and_slots_come_back(user: grpc.Channel, cloud: Cloud) -> None:
    stub = InferenceStub(user)
    running = [stub.Classify(query(model="endless")) for _ in range(2)]
    for each in running:
        next(iter(each))
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Classify(query()))
    assert type(raised(caught.value)) is TooMuch
    list(KeysStub(user).GetPublicKey(GetPublicKeyRequest()).jwk)  # other calls are served
    for each in running:
        each.cancel()
    assert cloud.freed.wait(5)
    for _ in range(50):
        try:
            assert list(stub.Classify(query()))[-1].answer.half == b"cba"
            break
        except grpc.RpcError:
            threading.Event().wait(0.05)
    else:
        pytest.fail("the slots of cancelled queries did not come back")


def header(size: int, model: str = "digits") -> ModelChunk:
    return ModelChunk(
        header=ModelHeader(
            protocol_version=PROTOCOL_VERSION,
            model=model,
            version="1",
            import_id=bytes(16),
            key_fingerprint=bytes(32),
            data_bytes=size,
        )
    )


def data(size: int) -> ModelChunk:
    return ModelChunk(data=bytes(size))


def test_a_model_arrives_whole(owner: grpc.Channel, cloud: Cloud) -> None:
    stub = ProvisionStub(owner)
    pieces = [header((2 << 20) + 5), data(1 << 20), data(1 << 20), data(5)]
    *progress, last = stub.Outsource(iter(pieces))
    assert [event.progress.stage for event in progress] == [1 << 20, 2 << 20, (2 << 20) + 5]
    assert last.outsourced.model == "digits"
    assert len(cloud.stored["digits"]) == (2 << 20) + 5
    assert [entry.model for entry in stub.ListModels(ListModelsRequest()).models] == ["digits"]
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Outsource(iter(pieces)))
    assert type(raised(caught.value)) is ModelExists
    stub.RemoveModel(RemoveModelRequest(model="digits", version="1"))
    with pytest.raises(grpc.RpcError) as caught:
        stub.RemoveModel(RemoveModelRequest(model="digits", version="1"))
    assert type(raised(caught.value)) is UnknownModel


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], InvalidMessage),
        ([data(3)], InvalidMessage),
        ([ModelChunk()], InvalidMessage),
        ([header(10), data(9)], InvalidMessage),
        ([header(10), data(9), data(1)], InvalidMessage),
        ([header(10), data(11)], InvalidMessage),
        ([header(10), data(0), data(10)], InvalidMessage),
        ([header(10), data(10), data(0)], InvalidMessage),
        ([header(10), data(10), data(1)], InvalidMessage),
        ([header((2 << 20) + 5), data(1 << 20), data(5), data(1 << 20)], InvalidMessage),
        ([header(10), header(10)], InvalidMessage),
        ([header(10), ModelChunk()], InvalidMessage),
        ([header(3 << 20), data((1 << 20) + 1)], TooMuch),
        ([header(9 << 20)], TooMuch),
        ([header(1, model="a/b"), data(1)], InvalidMessage),
    ],
)
def test_a_malformed_model_leaves_nothing(
    owner: grpc.Channel, cloud: Cloud, pieces: list[ModelChunk], kind: type[TwinveilError]
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(ProvisionStub(owner).Outsource(iter(pieces)))
    assert type(raised(caught.value)) is kind
    assert (cloud.stored, cloud.partial) == ({}, 0)


def test_an_owner_who_breaks_off_leaves_nothing(owner: grpc.Channel, cloud: Cloud) -> None:
    hold = threading.Event()

    def pieces() -> Iterator[ModelChunk]:
        yield header((1 << 20) + 1)
        yield data(1 << 20)
        hold.wait(10)

    call = ProvisionStub(owner).Outsource(pieces())
    next(iter(call))
    call.cancel()
    hold.set()
    assert cloud.freed.wait(5)
    assert (cloud.stored, cloud.partial) == ({}, 0)


def test_the_catalogue_and_the_gateway(user: grpc.Channel) -> None:
    reply = CatalogueStub(user).GetModel(GetModelRequest(model="digits"))
    assert (reply.entry.version, reply.plan_json) == ("newest", "{}")
    *progress, last = GatewayStub(user).Classify(Picture(file=b"12345"))
    assert progress[0].progress.label == "user/alice"
    assert (last.result.label, list(last.result.vector)) == (5, [-3, 5])
