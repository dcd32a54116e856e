"""What an owner or a user can send malformed, at both clouds: each has its typed error; no key is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.security import faults
from tests.security.stand_ins import called
from tests.security.world import OWNER, USER, World, tiny_model, tiny_plan
from twinveil.errors import BadPlan, InvalidMessage, TooMuch, TwinveilError
from twinveil.halves.integers import model_segments
from twinveil.halves.ring import kernel_segments, picture_bytes
from twinveil.network.plan import Concat, Conv, Dense, MaxPool, Node, Plan, Relu, Shape
from twinveil.params import Params
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.rounds.chunks import CHUNK_BYTES
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.provision_pb2 import ModelChunk, ModelHeader, RemoveModelRequest
from twinveil.services.inference import InferenceServicer
from twinveil.services.provision import ProvisionServicer
from twinveil.version import PROTOCOL_VERSION

CLOUDS = ("s1", "s2")
UINT32 = (1 << 32) - 1
OTHER_VERSIONS = (0, PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1, UINT32)
NAMES = ("", ".", "..", "../etc", "a/b", "a\0b", "-x", "x" * 65, "ä", "a b", "Foo")
VERSIONS = (*NAMES, "abc", "v1", "1.", "1.2.3.4", "1" * 10, "١")
NAMED = [*(("model", name) for name in NAMES), *(("version", version) for version in VERSIONS)]
PLANS = {
    "nothing": "",
    "no JSON": "{",
    "null": "null",
    "a list": "[]",
    "a number": "7",
    "no nodes": '{"image_shape": [1, 3, 3], "image_bits": 8, "nodes": [], "fraction_bits": 0}',
    "infinite sides": '{"image_shape": [Infinity, 3, 3], "nodes": []}',
    "deep": "[" * 100_000,
    "a long number": '{"image_shape": [' + "9" * 5000 + ', 3, 3], "nodes": []}',
}
CHANGES: dict[str, tuple[tuple[str, ...], Any]] = {
    "another key": (("surplus",), 1),
    "image of no height": (("image_shape",), [1, 0, 3]),
    "image of four sides": (("image_shape",), [1, 3, 3, 3]),
    "image of a billion values": (("image_shape",), [1024, 1024, 1024]),
    "image of 9 bits": (("image_bits",), 9),
    "image of true bits": (("image_bits",), True),
    "fractions of a text": (("fraction_bits",), "0"),
    "unknown node": (("nodes", "0", "kind"), "sigmoid"),
    "node without a name": (("nodes", "0", "name"), ""),
    "node with a path for a name": (("nodes", "0", "name"), "../conv"),
    "node that reads itself": (("nodes", "0", "source"), "conv"),
    "node that reads a list": (("nodes", "0", "source"), ["image"]),
    "kernel of one side": (("nodes", "0", "kernel"), [2]),
    "kernel of 2^31": (("nodes", "0", "kernel"), [2**31, 2**31]),
    "stride 0": (("nodes", "0", "stride"), 0),
    "padding -1": (("nodes", "0", "padding"), -1),
    "padding as large as the kernel": (("nodes", "0", "padding"), 2),
    "weights of 64 bits": (("nodes", "0", "weight_bits"), 64),
    "accumulators of 32 bits": (("nodes", "0", "accumulator_bits"), 32),
    "2^40 channels": (("nodes", "0", "out_channels"), 2**40),
    "shift -1": (("nodes", "1", "shift"), -1),
    "activations of 9 bits": (("nodes", "1", "bits"), 9),
    "pool of 0": (("nodes", "2", "size"), 0),
    "a million classes": (("nodes", "3", "out_features"), 10**6),
}

Vector = tuple[Callable[[Any], None], str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.outsource(tiny_model())
    made.outsource(tiny_model(), name="both", engines=("packed", "textbook"))
    return made


def _set(field: str, value: object) -> Callable[[Any], None]:
    return lambda message: setattr(message, field, value)


def query_vectors() -> Iterator[tuple[str, Vector]]:
    """Of a packed query; any content of the right size is half a picture."""
    for version in OTHER_VERSIONS:
        yield f"protocol version {version}", (_set("protocol_version", version), "PeerMismatch")
    for size in (0, 15, 17, 1000):
        yield f"query id of {size} bytes", (_set("query_id", bytes(size)), "InvalidMessage")
        yield f"plan hash of {size} bytes", (_set("plan_hash", bytes(size)), "InvalidMessage")
        yield f"import id of {size} bytes", (_set("import_id", bytes(size)), "InvalidMessage")
    yield "another plan", (_set("plan_hash", bytes(32)), "PeerMismatch")
    yield "another import", (_set("import_id", bytes(16)), "PeerMismatch")
    for field, name in NAMED:
        yield f"{field} {name!r:.20}", (_set(field, name), "InvalidMessage")
    for field, name in (("model", "unknown"), ("version", "2")):
        yield f"unknown {field}", (_set(field, name), "UnknownModel")
    yield "another model", (_set("model", "both"), "PeerMismatch")
    for engine in ("", "PACKED", "textbook", "preprocessed"):
        yield f"engine {engine!r}", (_set("engine", engine), "BadInput")
    yield "no picture", (_set("pictures", 0), "InvalidMessage")
    for count in (17, 65, UINT32):
        yield f"{count} pictures", (_set("pictures", count), "TooMuch")
    yield "16 pictures in the half of one", (_set("pictures", 16), "InvalidMessage")
    for name, change in faults.sizes(picture_bytes(tiny_plan())):
        yield f"half, {name}", (_changed("half", change), "InvalidMessage")


def textbook_vectors(n: int) -> Iterator[tuple[str, Vector]]:
    yield "two pictures", (_set("pictures", 2), "BadInput")
    for name, change in (*faults.residues(n, 1), *faults.sizes(32)):
        yield f"half, {name}", (_changed("half", change), "InvalidMessage")


def _changed(field: str, change: faults.Change) -> Callable[[Any], None]:
    return lambda message: setattr(message, field, change(getattr(message, field)))


def header_vectors() -> Iterator[tuple[str, Vector]]:
    for version in OTHER_VERSIONS:
        yield f"protocol version {version}", (_set("protocol_version", version), "PeerMismatch")
    for field, name in NAMED:
        yield f"{field} {name!r:.20}", (_set(field, name), "InvalidMessage")
    for size in (0, 15, 17, 1000):
        yield f"import id of {size} bytes", (_set("import_id", bytes(size)), "InvalidMessage")
        yield f"fingerprint of {size} bytes", (_set("key_fingerprint", bytes(size)), "InvalidMessage")
    yield "another key", (_set("key_fingerprint", bytes(32)), "PeerMismatch")
    for name, text in PLANS.items():
        yield f"plan: {name}", (_set("plan_json", text), "BadPlan")
    for name, (path, value) in CHANGES.items():
        yield f"plan: {name}", (_set("plan_json", _plan_with(path, value)), "BadPlan")
    for engines in (
        *((), ("none",), ("packed", "packed"), ("packed", ""), ("packed",) * 1000),
        ("textbook", "packed"),
    ):
        yield f"engines {', '.join(engines)!r:.30}", (_engines(engines), "BadPlan")
    for change in (-1, 1):
        yield f"data_bytes {change:+d}", (_plus("data_bytes", change), "InvalidMessage")
    yield "no data_bytes", (_set("data_bytes", 0), "InvalidMessage")
    yield "engines of which there is no data", (_engines(("packed", "textbook")), "InvalidMessage")
    yield "2^60 bytes", (_set("data_bytes", 2**60), "TooMuch")
    yield "a model that is there", (_set("model", "tiny"), "ModelExists")


def _engines(names: tuple[str, ...]) -> Callable[[ModelHeader], None]:
    def change(header: ModelHeader) -> None:
        del header.engines[:]
        header.engines.extend(names)

    return change


def _plus(field: str, change: int) -> Callable[[Any], None]:
    return lambda message: setattr(message, field, getattr(message, field) + change)


def _plan_with(path: tuple[str, ...], value: object) -> str:
    plan = json.loads(tiny_plan().to_json())
    part = plan
    for key in path[:-1]:
        part = part[int(key)] if key.isdigit() else part[key]
    part[path[-1]] = value
    return json.dumps(plan)


Data = Iterator[tuple[str, tuple[faults.Change, str]]]


def data_vectors(n: int, kernels: int, width: int) -> Data:
    """Of the packed engine: K*M, or M^-1; a bias is any word."""
    cut = kernels * width
    for name, change in faults.residues(n, 1):
        yield f"K*M, {name}", (lambda data, change=change: change(data[:cut]) + data[cut:], "InvalidMessage")
    for name, change in faults.sizes(width):
        yield f"data, {name}", (change, "InvalidMessage")


def textbook_data_vectors(n: int, weights: int, width: int) -> Data:
    cut = weights * width
    for name, change in faults.residues(n, 1):
        yield f"K*M, {name}", (lambda data, change=change: change(data[:cut]) + data[cut:], "InvalidMessage")
    for name, change in faults.residues(n, 0):
        yield f"b+r, {name}", (lambda data, change=change: data[:cut] + change(data[cut:]), "InvalidMessage")


def refused(call: Callable[[], Iterator[object]]) -> str:
    """The type of error that a call ends with; '' if it ends well or waits for the other cloud."""
    try:
        next(call())
    except TwinveilError as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("cloud", CLOUDS)
def test_malformed_queries(world: World, cloud: str) -> None:
    servicer = InferenceServicer(world.queries1 if cloud == "s1" else world.queries2)
    before, wrong, count = world.secret.operations, dict[str, tuple[str, str]](), 0
    packed = [(world.query(tiny_plan()), vector) for vector in query_vectors()]
    asked = world.query(tiny_plan(), name="both", engine="textbook")
    for sent, (name, (change, expected)) in [
        *packed,
        *((asked, vector) for vector in textbook_vectors(int(world.public.n))),
    ]:
        query = QueryHalf()
        query.CopyFrom(getattr(sent, cloud))
        change(query)
        found = refused(lambda query=query: servicer.Classify(query, called(USER)))
        count += 1
        if found != expected:
            wrong[name] = (found, expected)
    assert not wrong
    assert count >= 55
    assert world.secret.operations == before


def test_a_query_id_serves_once(world: World) -> None:
    servicer = InferenceServicer(world.queries2)
    query = world.query(tiny_plan()).s2
    assert refused(lambda: servicer.Classify(query, called(USER))) == ""
    other = world.query(tiny_plan()).s2
    other.query_id = query.query_id
    assert refused(lambda: servicer.Classify(query, called(USER))) == "AlreadyUsed"
    assert refused(lambda: servicer.Classify(other, called(USER))) == "AlreadyUsed"


def _stream(header: ModelHeader | None, *data: bytes) -> Iterator[ModelChunk]:
    if header is not None:
        yield ModelChunk(header=header)
    for piece in data:
        yield ModelChunk(data=piece)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_malformed_models(world: World, cloud: str) -> None:
    handler = world.provision1 if cloud == "s1" else world.provision2
    servicer = ProvisionServicer(handler)
    plan, n = tiny_plan(), int(world.public.n)
    half = world.halves(tiny_model())[CLOUDS.index(cloud)]
    kernels = sum(each.plaintexts for each in kernel_segments(plan, world.params.key_bits).values())
    before, wrong, count = world.secret.operations, {}, 0

    def attempt(name: str, pieces: Iterator[ModelChunk], expected: str) -> None:
        nonlocal count
        count += 1
        found = refused(lambda: servicer.Outsource(pieces, called(OWNER)))
        if found != expected:
            wrong[name] = (found, expected)

    for name, (change, expected) in header_vectors():
        header = world.header(plan, "new")
        change(header)
        attempt(name, _stream(header, half), expected)
    header = world.header(plan, "new")
    for name, (malform, expected) in data_vectors(n, kernels, world.public.bits // 8):
        attempt(name, _stream(world.header(plan, "new"), malform(half)), expected)
    textbook = world.halves(tiny_model(), ("textbook",))[CLOUDS.index(cloud)]
    weights = sum(each.plaintexts for _, which, each in model_segments(plan, world.params) if not which)
    for name, (malform, expected) in textbook_data_vectors(n, weights, world.public.bits // 8):
        attempt(name, _stream(world.header(plan, "new", ("textbook",)), malform(textbook)), expected)
    attempt("nothing at all", _stream(None), "InvalidMessage")
    attempt("data first", _stream(None, half), "InvalidMessage")
    attempt("an empty piece first", iter([ModelChunk()]), "InvalidMessage")
    attempt("no data", _stream(header), "InvalidMessage")
    attempt("a piece of 1 MiB and a byte", _stream(header, bytes(CHUNK_BYTES + 1)), "TooMuch")
    twice = [ModelChunk(header=header), ModelChunk(header=header)]
    attempt("two headers", iter(twice), "InvalidMessage")
    attempt("a piece of nothing", iter([ModelChunk(header=header), ModelChunk()]), "InvalidMessage")
    attempt("an empty piece", _stream(header, b"", half), "InvalidMessage")
    attempt("an empty piece at the end", _stream(world.header(plan, "new"), half, b""), "InvalidMessage")
    attempt(
        "short pieces",
        _stream(header, *(half[at : at + 2] for at in range(0, len(half), 2))),
        "InvalidMessage",
    )
    known = world.header(plan, "new")
    known.import_id = world.models1.store.find("tiny", "1").import_id
    attempt("an import id that was used", _stream(known, half), "AlreadyUsed")
    assert not wrong
    assert count >= 88
    assert world.secret.operations == before
    assert [entry.model for entry in handler.list_models(OWNER)] == ["both", "tiny"]


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(("field", "name"), NAMED)
def test_malformed_removals(world: World, cloud: str, field: str, name: str) -> None:
    servicer = ProvisionServicer(world.provision1 if cloud == "s1" else world.provision2)
    asked = RemoveModelRequest(model="tiny", version="1")
    setattr(asked, field, name)
    with pytest.raises(InvalidMessage):
        servicer.RemoveModel(asked, called(OWNER))


def test_halves_of_no_unit_are_taken(world: World) -> None:
    """What only its factors tell from a unit is not refused: an error would depend on content."""
    key = world.secret
    servicer = InferenceServicer(world.queries2)
    for half in (int(key._p), 5 * int(key._q), 1, int(key.public_key.n) - 1):
        data = half.to_bytes(world.public.bits // 8, "big")
        query = world.query(tiny_plan(), halves=(data, data), name="both", engine="textbook")
        assert refused(lambda query=query: servicer.Classify(query.s2, called(USER))) == ""


def test_plans_round_trip() -> None:
    assert Plan.from_json(tiny_plan().to_json()) == tiny_plan()
    assert Plan.from_json(json.dumps(json.loads(tiny_plan().to_json()), indent=3)).hash == tiny_plan().hash


POOLED = (MaxPool("pool", "image", 15, 15, 0), Dense("dense", "pool", 2, 8, 31))


def side_by_side(count: int, conv: Conv, shape: Shape) -> Plan:
    """A network of many convolutions of the same picture, each with its ReLU."""
    nodes: list[Node] = []
    for at in range(count):
        nodes += [replace(conv, name=f"conv{at}"), Relu(f"relu{at}", f"conv{at}", 4, 8)]
    joined = Concat("joined", tuple(f"relu{at}" for at in range(count)))
    return Plan(shape, 8, (*nodes, joined, Dense("dense", "joined", 2, 8, 31)), 0)


WIDE = Conv("conv", "image", 1, (15, 15), 15, 0, 8, 20)
NARROW = Conv("conv", "image", 1, (1, 1), 1, 0, 8, 31)
MANY = Conv("conv", "image", 1021, (1, 1), 1, 0, 12, 31)
BOMBS: dict[str, tuple[str, Callable[[], object]]] = {
    "image": ("the image has more", lambda: Plan((3, 1024, 1024), 8, POOLED, 0)),
    "weights": (
        "1,048,576 weights",
        lambda: Plan((1, 40, 40), 8, (Dense("dense", "image", 1000, 8, 31),), 0),
    ),
    "weights of many layers": ("1,048,576 weights", lambda: side_by_side(5, WIDE, (1024, 15, 15))),
    "values": (
        "2,097,152 values",
        lambda: side_by_side(1, replace(NARROW, out_channels=20), (1, 256, 256)),
    ),
    "values of many layers": ("2,097,152 values", lambda: side_by_side(11, NARROW, (1, 256, 256))),
    "products": (
        "134,217,728 products",
        lambda: side_by_side(1, Conv("conv", "image", 20, (15, 15), 1, 7, 8, 31), (1, 180, 180)),
    ),
    "window entries": (
        "16,777,216 window entries",
        lambda: side_by_side(1, Conv("conv", "image", 1, (9, 9), 1, 4, 8, 31), (4, 256, 256)),
    ),
    "pools": (
        "16,777,216 window entries",
        lambda: Plan((1, 512, 512), 8, (MaxPool("pool", "image", 15, 1, 7), *POOLED[1:]), 0),
    ),
    "slots": (
        "kernels take .* slots",
        lambda: ModelLayout(side_by_side(3, WIDE, (245, 15, 285)), Params().key_bits),
    ),
    "textbook products": (
        "the textbook engine runs up to",
        lambda: TextbookLayout(side_by_side(1, WIDE, (1, 900, 900)), Params()),
    ),
    "plaintexts": (
        "more values than one import takes",
        lambda: ModelLayout(side_by_side(1, MANY, (1024, 1, 1)), 256),
    ),
    "plaintexts of the textbook engine": (
        "65,536 plaintexts",
        lambda: ImportLayout(side_by_side(1, MANY, (1024, 1, 1)), Params(256, insecure_small_key=True)),
    ),
    "sums that have no room": (
        "a masked sum of 63 bits does not fit",
        lambda: ModelLayout(side_by_side(1, WIDE, (1, 15, 15)), 128),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_plans_that_no_cloud_could_run(name: str) -> None:
    """A plan comes from a client and is paid for by the clouds: refused when it is read."""
    match, make = BOMBS[name]
    with pytest.raises((BadPlan, TooMuch), match=match):
        make()


@pytest.mark.parametrize("folder", ["s1", "s2"])
def test_nothing_stays_of_refused_models(world: World, folder: str) -> None:
    assert sorted(path.name for path in Path(world.root / folder).iterdir()) == ["both@1", "tiny@1"]
