"""What a call may cost: places, seconds, silence; whoever overdraws is ended and everyone else is served."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import grpc
import pytest

from tests.rounds.conversations import Scripted, done
from tests.services.test_servicers import Cloud, data, header, query
from tests.system.town import wait_until
from twinveil.errors import NotAllowed, PeerUnavailable, TooMuch, TwinveilError
from twinveil.rounds.chunks import CHUNK_BYTES as FULL
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.inference_pb2_grpc import InferenceStub
from twinveil.rpc.keys_pb2 import GetPublicKeyRequest
from twinveil.rpc.keys_pb2_grpc import KeysStub
from twinveil.rpc.provision_pb2 import ModelChunk, OutsourceEvent
from twinveil.rpc.provision_pb2_grpc import ProvisionStub
from twinveil.rpc.types_pb2 import Progress
from twinveil.services.inference import InferenceServicer
from twinveil.services.keys import KeysServicer
from twinveil.services.provision import ProvisionServicer
from twinveil.services.rounds import GrpcPeer, RoundsServicer
from twinveil.services.status import StatusServicer
from twinveil.start.settings import (
    CloudS1Settings,
    CloudS2Settings,
    CloudSettings,
    OwnerSettings,
    UserSettings,
)
from twinveil.transport.channel import Me, open_channel
from twinveil.transport.identity import PeerIdentity
from twinveil.transport.limits import USUAL, WATCHDOG, CallLimits, Places
from twinveil.transport.server import Server, ServerSettings, start
from twinveil.transport.status import from_rpc_error

CLASSIFY = "/twinveil.rpc.Inference/Classify"
OUTSOURCE = "/twinveil.rpc.Provision/Outsource"
CONVERSE = "/twinveil.rpc.Rounds/Converse"
STATUS = "/twinveil.rpc.Status/GetStatus"
KEYS = "/twinveil.rpc.Keys/GetPublicKey"
HEALTH = "/grpc.health.v1.Health/Check"
ALICE = PeerIdentity("user", "alice", b"a", True)
BOB = PeerIdentity("user", "bob", b"b", True)
OLGA = PeerIdentity("owner", "olga", b"c", True)
OTTO = PeerIdentity("owner", "otto", b"d", True)
S1 = PeerIdentity("cloud_s1", "main", b"e", True)

LIMITS = {
    CLASSIFY: CallLimits(seconds=1.0, idle=0.5, at_once=3, per_caller=2),
    OUTSOURCE: CallLimits(seconds=5.0, idle=0.4, at_once=1),
    CONVERSE: CallLimits(seconds=2.0, idle=0.4),
}


class Call:
    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_places_of_an_rpc_and_of_a_caller() -> None:
    places = Places({"m": CallLimits(at_once=3, per_caller=2)})
    first, second = places.take("m", ALICE), places.take("m", ALICE)
    first.__enter__()
    second.__enter__()
    with pytest.raises(TooMuch, match="user/alice may have 2 of m at once"), places.take("m", ALICE):
        pass
    with (
        places.take("m", BOB),
        pytest.raises(TooMuch, match="too many calls of m at once"),
        places.take("m", BOB),
    ):
        pass
    with places.take("other", ALICE):
        pass
    first.__exit__(None, None, None)
    with places.take("m", ALICE):
        pass


def test_small_calls_of_a_caller_are_counted_together() -> None:
    """Of all RPCs without limits of their own: so many of each would be most of what a server has."""
    places = Places({"m": CallLimits(per_caller=2)})
    with ExitStack() as held:
        for number in range(USUAL.per_caller):
            held.enter_context(places.take(f"small{number % 4}", ALICE))
        with pytest.raises(TooMuch, match="may have 8 of small calls at once"), places.take("another", ALICE):
            pass
        with places.take("m", ALICE), places.take("small0", BOB):
            pass
    with places.take("small0", ALICE):
        pass


def test_all_clients_together_leave_places_to_s1() -> None:
    places = Places({}, clients=2)
    with places.take("m", ALICE), places.take("m", OLGA):
        with pytest.raises(TooMuch, match="too many calls at once"), places.take("m", BOB):
            pass
        with places.take("m", S1), places.take("m", S1), places.take("m", S1):
            pass
    with places.take("m", BOB):
        pass


@pytest.mark.parametrize("settings", [CloudS1Settings(), CloudS2Settings()])
def test_one_owner_leaves_a_place_to_another(settings: CloudSettings) -> None:
    """A half that nobody takes up holds its place for a quarter of an hour."""
    places = Places(settings.limits())
    with places.take(OUTSOURCE, OLGA):
        with pytest.raises(TooMuch, match="owner/olga may have 1 of"), places.take(OUTSOURCE, OLGA):
            pass
        with places.take(OUTSOURCE, OTTO):
            pass


def test_the_watchdog_ends_what_is_late_and_nothing_else() -> None:
    late, early, later = Call(), Call(), Call()
    begin = time.monotonic()
    with WATCHDOG.ends(later, 60, "later"), WATCHDOG.ends(late, 0.2, "late"):
        with WATCHDOG.ends(early, 0.1, "early"):
            pass
        assert late.cancelled.wait(5)
    assert 0.2 <= time.monotonic() - begin < 2
    assert not early.cancelled.is_set()
    assert not later.cancelled.is_set()


class SlowS2:
    """Conversations that answer, or hang."""

    def __init__(self) -> None:
        self.opened: list[Scripted] = []

    def open(self, caller: PeerIdentity) -> Scripted:
        self.opened.append(Scripted())
        return self.opened[-1]


class Patient(Cloud):
    """A query lasts until it is closed."""

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        try:
            while query.model == "endless":
                time.sleep(0.02)
                yield Progress()
            while query.model == "flood":
                yield Progress(label="x" * (1 << 20))
            return AnswerHalf(half=b"x")
        finally:
            self.freed.set()


@pytest.fixture
def cloud() -> Patient:
    return Patient()


@pytest.fixture
def s2() -> SlowS2:
    return SlowS2()


@pytest.fixture
def server(cloud: Patient, s2: SlowS2) -> Iterator[Server]:
    services = [
        InferenceServicer(cloud),
        ProvisionServicer(cloud),
        KeysServicer("{}", b"f" * 32),
        StatusServicer("cloud_s2"),
        RoundsServicer(s2.open),
    ]
    settings = ServerSettings(
        "cloud_s2", "127.0.0.1:0", None, insecure_plaintext=True, max_calls=8, limits=LIMITS
    )
    running = start(settings, services)
    yield running
    running.stop(0)


@pytest.fixture
def channel(server: Server) -> Iterator[dict[str, grpc.Channel]]:
    made = {
        name: open_channel(Me(role, name, None), "cloud_s2", f"127.0.0.1:{server.port}")
        for role, name in (("user", "alice"), ("user", "bob"), ("owner", "olga"), ("cloud_s1", "s1"))
    }
    yield made
    for each in made.values():
        each.close()


def ended(call: Iterator[object], seconds: float = 10) -> TwinveilError:
    """The error that a call ends with, within so many seconds."""
    begin = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        for _ in call:
            pass
    assert time.monotonic() - begin < seconds
    return from_rpc_error(caught.value, "the cloud")


@pytest.mark.parametrize("deadline", [None, 3600])
def test_a_call_without_or_with_a_far_deadline_is_bounded(
    channel: dict[str, grpc.Channel], cloud: Patient, deadline: float | None
) -> None:
    error = ended(InferenceStub(channel["alice"]).Classify(query(model="endless"), timeout=deadline), 4)
    assert isinstance(error, PeerUnavailable)
    assert cloud.freed.wait(5)


def test_a_caller_who_reads_nothing_does_not_hold_its_place(
    channel: dict[str, grpc.Channel], cloud: Patient, caplog: pytest.LogCaptureFixture
) -> None:
    """The server waits for it in the middle of a message, where no deadline of the handler's is looked at."""
    call = InferenceStub(channel["alice"]).Classify(query(model="flood"))
    assert cloud.freed.wait(5)
    assert "user/alice took nothing for 0.5 s" in caplog.text
    call.cancel()


def test_a_slow_owner_does_not_hold_its_place(channel: dict[str, grpc.Channel], cloud: Patient) -> None:
    hold = threading.Event()

    def pieces() -> Iterator[ModelChunk]:
        yield header(FULL + 1)
        yield data(FULL)
        hold.wait(20)

    stub = ProvisionStub(channel["olga"])
    slow = stub.Outsource(pieces())
    next(iter(slow))
    assert isinstance(ended(stub.Outsource(iter([header(1, "b"), data(1)]))), TooMuch)
    assert isinstance(ended(slow, 3.5), PeerUnavailable)
    assert cloud.freed.wait(5)
    assert cloud.partial == 0
    made: list[OutsourceEvent] = []
    assert wait_until(lambda: succeeds(stub, made), 5)
    assert made[-1].outsourced.model == "b"
    hold.set()


def succeeds(stub: ProvisionStub, made: list[OutsourceEvent]) -> bool:
    try:
        made += stub.Outsource(iter([header(1, "b"), data(1)]))
    except grpc.RpcError:
        return False
    return True


def test_an_owner_who_trickles_meets_the_longest_time(
    channel: dict[str, grpc.Channel], cloud: Patient
) -> None:
    def pieces() -> Iterator[ModelChunk]:
        yield header(50 * FULL)
        for _ in range(50):
            time.sleep(0.2)
            yield data(FULL)

    begin = time.monotonic()
    assert isinstance(ended(ProvisionStub(channel["olga"]).Outsource(pieces())), PeerUnavailable)
    assert 4.5 < time.monotonic() - begin < 9
    assert cloud.freed.wait(5)


def test_an_owner_who_sends_nothing_at_all(channel: dict[str, grpc.Channel]) -> None:
    hold = threading.Event()
    call = ProvisionStub(channel["olga"]).Outsource(iter(lambda: hold.wait(20), True))
    assert isinstance(ended(call, 3.5), PeerUnavailable)
    hold.set()


def test_half_a_single_message_is_bounded_too(channel: dict[str, grpc.Channel]) -> None:
    """A call with one message whose caller opens the stream and never sends it."""
    hold = threading.Event()
    call = channel["alice"].stream_stream(CLASSIFY)(iter(lambda: hold.wait(20), True))
    assert isinstance(ended(call, 4), PeerUnavailable)
    hold.set()


def silent(channel: grpc.Channel, method: str, hold: threading.Event) -> grpc.Call:
    return channel.stream_stream(method)(iter(lambda: hold.wait(20), True))


def test_a_silent_small_call_ends_soon(channel: dict[str, grpc.Channel]) -> None:
    hold = threading.Event()
    assert isinstance(ended(silent(channel["alice"], STATUS, hold), 10), PeerUnavailable)  # after 5 s
    hold.set()


def test_silent_clients_keep_neither_others_nor_s1_out(s2: SlowS2) -> None:
    """One user has its eight, all clients together leave S1's conversations their places."""
    settings = ServerSettings(
        "cloud_s2", "127.0.0.1:0", None, insecure_plaintext=True, max_calls=12, kept_for_s1=2
    )
    server = start(settings, [StatusServicer("cloud_s2"), KeysServicer("{}", b"f"), RoundsServicer(s2.open)])
    hold, target = threading.Event(), f"127.0.0.1:{server.port}"
    with ExitStack() as stack:
        stack.callback(server.stop, 0)
        stack.callback(hold.set)
        names = (("user", "alice"), ("user", "bob"), ("user", "carol"), ("cloud_s1", "s1"))
        alice, bob, carol, s1 = (
            stack.enter_context(open_channel(Me(role, name, None), "cloud_s2", target))
            for role, name in names
        )
        calls = [silent(alice, method, hold) for method in (STATUS, KEYS, HEALTH) for _ in range(4)]
        assert wait_until(lambda: sum(not each.done() for each in calls) == USUAL.per_caller, 4)
        assert KeysStub(bob).GetPublicKey(GetPublicKeyRequest(), timeout=5).jwk == "{}"
        more = [silent(bob, STATUS, hold) for _ in range(4)]
        assert wait_until(lambda: sum(not each.done() for each in more) == 2, 4)
        with pytest.raises(grpc.RpcError, match="too many calls at once"):
            KeysStub(carol).GetPublicKey(GetPublicKeyRequest(), timeout=5)
        peer = GrpcPeer(s1, deadline=5)
        peer.ask(done())
        peer.close()


def test_a_call_without_its_message_is_refused(channel: dict[str, grpc.Channel]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel["alice"].stream_stream(CLASSIFY)(iter([])))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_an_idle_conversation_ends(channel: dict[str, grpc.Channel], s2: SlowS2) -> None:
    peer = GrpcPeer(channel["s1"], deadline=30)
    peer.ask(done())
    assert not peer.left
    assert s2.opened[0].closed.wait(5)
    assert wait_until(lambda: peer.left, 5)
    with pytest.raises(PeerUnavailable):
        peer.ask(done())


def test_a_conversation_at_work_is_not_idle(channel: dict[str, grpc.Channel], s2: SlowS2) -> None:
    peer = GrpcPeer(channel["s1"], deadline=30)
    for _ in range(6):
        peer.ask(done())
        time.sleep(0.2)
    peer.close()
    assert s2.opened[0].closed.wait(5)
    assert len(s2.opened[0].seen) == 6


def test_a_conversation_has_an_end(channel: dict[str, grpc.Channel]) -> None:
    peer = GrpcPeer(channel["s1"], deadline=30)
    begin = time.monotonic()
    with pytest.raises(PeerUnavailable):
        while time.monotonic() - begin < 10:
            peer.ask(done())
            time.sleep(0.1)
    assert 1.5 < time.monotonic() - begin < 5


def test_one_client_does_not_take_all_places(channel: dict[str, grpc.Channel]) -> None:
    alice, bob = InferenceStub(channel["alice"]), InferenceStub(channel["bob"])
    held = [alice.Classify(query(model="endless")) for _ in range(2)]
    for each in held:
        next(iter(each))
    assert isinstance(ended(alice.Classify(query())), TooMuch)
    assert [event.answer.half for event in bob.Classify(query())] == [b"x"]
    assert KeysStub(channel["alice"]).GetPublicKey(GetPublicKeyRequest(), timeout=5).jwk == "{}"


def test_who_may_not_call_takes_no_place(channel: dict[str, grpc.Channel]) -> None:
    held = [InferenceStub(channel["olga"]).Classify(query(model="endless")) for _ in range(3)]
    for each in held:
        assert isinstance(ended(each), NotAllowed)
    assert [event.answer.half for event in InferenceStub(channel["bob"]).Classify(query())] == [b"x"]


def test_too_large_a_message_is_refused_and_frees_its_place(channel: dict[str, grpc.Channel]) -> None:
    stub = InferenceStub(channel["alice"])
    large = channel["alice"].unary_stream(CLASSIFY)
    assert isinstance(ended(large(bytes(2_000_000 + (200 << 10)), timeout=10)), TooMuch)
    assert wait_until(lambda: [event.answer.half for event in stub.Classify(query())] == [b"x"], 5)


@pytest.mark.parametrize("kind", [CloudS1Settings, CloudS2Settings, OwnerSettings, UserSettings])
def test_every_role_bounds_every_call(kind: type[CloudS1Settings]) -> None:
    limits = kind().limits()
    for each in (*limits.values(), CallLimits()):
        assert 0 < each.idle <= each.seconds <= 3 * 3600
        assert each.per_caller <= 64
    if issubclass(kind, CloudS1Settings | CloudS2Settings):
        assert limits[CLASSIFY].at_once == 8
        assert limits[CLASSIFY].per_caller == 6
        assert limits[OUTSOURCE].at_once == 2
    kept = kind().kept_for_s1()
    assert kept == (16 if kind is CloudS2Settings else 0)
