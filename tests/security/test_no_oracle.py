"""S2 acts on the steps of a query's plan only: in order, once, within its budget, for S1 alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_s2.queries import PendingQuery
from tests.networks import random_image, random_model
from tests.security.faults import of_body
from tests.security.peers import At, Between, Twice, Watching
from tests.security.world import OWNER, S1, USER, World, finish, other_caller, tiny_model, tiny_plan
from twinveil.cloud.requests import Query as UserQuery
from twinveil.crypto.native.residues import Residues
from twinveil.crypto.nonces import NonceSource
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import (
    AlreadyUsed,
    BrokenOff,
    InvalidMessage,
    NotAllowed,
    OutOfOrder,
    PeerMismatch,
    PeerUnavailable,
)
from twinveil.garbling import ahead
from twinveil.garbling.base_ot import BaseReceiver, BaseSender
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.halves import answers
from twinveil.halves.ring import kernel_segments
from twinveil.network import oracle
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb
from twinveil.transport.authorisation import TABLE, authorise
from twinveil.transport.identity import ROLES, PeerIdentity

IMAGE = np.arange(9, dtype=np.uint8).reshape(1, 3, 3) * 28
BOTH = ("packed", "textbook")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.outsource(tiny_model(), engines=BOTH)
    made.outsource(tiny_model(1), name="other", engines=BOTH)
    return made


@pytest.fixture
def world(shared: World) -> World:
    shared.wrap = lambda peer: peer
    return shared


def budget(world: World, plan: Plan) -> int:
    """Decryptions of one item, from public data alone; a query that spends it has none."""
    layers = ModelLayout(plan, world.params.key_bits).item.layers.values()
    return sum(layer.kernel.sums + layer.inputs.sums for layer in layers)


def textbook_budget(plan: Plan) -> int:
    """SMP decrypts both operands; SACT x twice, SMAP every window's members."""
    conv, dense = plan.linear_nodes
    values, pooled = int(np.prod(plan.shapes[conv.name])), int(np.prod(plan.shapes["pool"]))
    products = plan.products(conv) + plan.products(dense) + values + 4 * pooled
    return 1 + 2 * products + 2 * values + 4 * pooled + 2


def roomy_model(seed: int) -> QuantisedModel:
    """A random network whose sums fit the small key."""
    return random_model(seed, max_side=6, max_channels=2, max_layers=3)


@pytest.mark.parametrize("seed", range(4))
def test_the_budget_is_the_plans(tmp_path: Path, seed: int) -> None:
    world, model = World(tmp_path), roomy_model(seed)
    before = world.secret.operations
    world.outsource(model)
    kernels = kernel_segments(model.plan, world.params.key_bits).values()
    assert world.secret.operations - before == sum(each.plaintexts for each in kernels)
    before, image = world.secret.operations, random_image(model.plan, seed)
    world.make_items(2)
    assert world.secret.operations - before == 2 * budget(world, model.plan)
    before = world.secret.operations
    assert (world.classify(model, image) == oracle.run(model, image)).all()
    assert world.secret.operations == before


def test_a_query_takes_no_power_no_encryption_no_transfer(
    world: World,
) -> None:
    """Everything that needs a ciphertext, or makes a transfer, was done ahead of the picture."""
    image, used = random_image(tiny_plan(), 1), list[str]()
    for label_only in (False, True):
        world.make_items()
        query = world.query(tiny_plan(), image, label_only=label_only)
        with pytest.MonkeyPatch.context() as patch:
            for place, name in COSTLY:
                patch.setattr(place, name, counted(getattr(place, name), name, used))
            before = world.secret.tally.as_dict()
            world.ask(query)
            assert world.secret.tally.as_dict() == before
        assert not used
    with pytest.MonkeyPatch.context() as patch:
        for place, name in COSTLY:
            patch.setattr(place, name, counted(getattr(place, name), name, used))
        while world.queries1.stock.give_way():
            """A new conversation has base transfers, too."""
        world.make_items()
    assert set(used) == {name for _, name in COSTLY}


COSTLY: list[tuple[Any, str]] = [
    (Residues, "__init__"),
    (NonceSource, "_draw"),
    (SecretKey, "decrypt"),
    (ExtensionSender, "accept"),
    (ExtensionReceiver, "prepare"),
    (BaseSender, "first"),
    (BaseReceiver, "__init__"),
    (ahead, "Garbler"),
]
"""Where numbers modulo N^2 are made, plaintexts encrypted, transfers extended, circuits garbled."""


def counted(honest: Callable[..., Any], name: str, used: list[str]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        used.append(name)
        return honest(*arguments, **options)

    return call


def test_the_budget_of_the_textbook_engine(world: World) -> None:
    before = world.secret.operations
    world.classify(tiny_model(), IMAGE, "textbook")
    assert world.secret.operations - before == textbook_budget(tiny_plan())


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_the_same_bytes_again_get_the_stored_reply(world: World, engine: str) -> None:
    peers: list[Twice] = []
    world.make_items()
    world.wrap = lambda inner: peers.append(Twice(inner)) or peers[-1]  # type: ignore[func-returns-value]
    before = world.secret.operations
    assert (world.classify(tiny_model(), IMAGE, engine) == oracle.run(tiny_model(), IMAGE)).all()
    assert all(first == second for first, second in peers[0].replies)
    assert world.secret.operations - before == (0 if engine == "packed" else textbook_budget(tiny_plan()))


def test_items_may_be_asked_for_message_by_message_twice(world: World) -> None:
    with driven(world, "items") as drive:
        world.wrap = Twice
        before = world.secret.operations
        drive()
    assert world.secret.operations - before == 2 * budget(world, tiny_plan())
    world.wrap = lambda peer: peer
    assert (world.classify(tiny_model(), IMAGE) == oracle.run(tiny_model(), IMAGE)).all()


def test_an_import_may_be_repeated_message_by_message(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.wrap = Twice
    world.outsource(tiny_model())
    world.wrap = lambda peer: peer
    assert (world.classify(tiny_model(), IMAGE) == oracle.run(tiny_model(), IMAGE)).all()


@contextmanager
def driven(world: World, kind: str) -> Iterator[Callable[[], object]]:
    """A conversation that is ready to begin: two items, or a query with an engine, at whose end it fails."""
    if kind == "items":
        while world.queries1.stock.give_way():
            """Items are made in a conversation that stands, if there is one."""
        yield lambda: world.make_items(2)
        return
    world.make_items()
    query = world.query(tiny_plan(), IMAGE, engine=kind)
    with closing(world.queries2.classify(query.s2, USER)) as waiting:
        next(waiting)
        yield lambda: finish(world.queries1.classify(query.s1, USER))


def ends_with(
    world: World,
    kind: str,
    number: int,
    act: Callable[[Peer, pb.Round], pb.Round],
    error: type[Exception] = OutOfOrder,
) -> int:
    """A conversation whose message `number` meets `act` is refused; returns S2's decryptions from then on."""
    marks: list[int] = []

    def marked(inner: Peer, message: pb.Round) -> pb.Round:
        marks.append(world.secret.operations)
        return act(inner, message)

    with driven(world, kind) as drive:
        world.wrap = lambda inner: At(inner, number, marked)
        with pytest.raises(error):
            drive()
    world.wrap = lambda peer: peer
    return world.secret.operations - marks[0]


def again_with_another_byte(inner: Peer, message: pb.Round) -> pb.Round:
    inner.ask(message)
    part = getattr(message, str(message.WhichOneof("body")))
    for field, value in part.ListFields():
        if isinstance(value, bytes):
            setattr(part, field.name, value[:-1] + bytes([value[-1] ^ 1]))
            break
    return inner.ask(message)


STEPS = {
    "items": ("open_items", "make_item", "item_offer", "make_item"),
    "packed": ("spend", "labels", "labels"),
    "textbook": (
        *("open_query", "prepare", "bind", "masked_plaintexts"),
        *("garbled_batch", "smp_operands", "masked_sums", "garbled_batch"),
    ),
}
"""S1's messages of two items, of the tiny network's query, and the first of its textbook query."""
NUMBERED = [(kind, number) for kind, steps in STEPS.items() for number in range(len(steps))]


def test_these_are_the_steps(world: World) -> None:
    for kind, steps in STEPS.items():
        peers: list[Watching] = []
        with driven(world, kind) as drive:
            world.wrap = lambda inner, peers=peers: peers.append(Watching(inner)) or peers[-1]  # type: ignore[misc]
            drive()
        assert [each.WhichOneof("body") for each in peers[0].requests][: len(steps)] == list(steps)


@pytest.mark.parametrize(("kind", "number"), [each for each in NUMBERED if each != ("items", 3)])
def test_other_bytes_at_a_step_that_is_over(world: World, kind: str, number: int) -> None:
    error = (
        InvalidMessage if (kind, number) == ("packed", 1) else OutOfOrder
    )  # a stage's labels have its size
    operations = ends_with(world, kind, number, again_with_another_byte, error)
    due = textbook_budget(tiny_plan()) if kind == "textbook" else budget(world, tiny_plan())
    assert operations <= (0 if kind == "packed" else due)


@pytest.mark.parametrize(("kind", "number"), [each for each in NUMBERED if each[1] + 1 < len(STEPS[each[0]])])
def test_a_message_that_was_dropped(world: World, kind: str, number: int) -> None:
    """The next one comes in its place."""
    alike = STEPS[kind][number] == STEPS[kind][number + 1]
    following = of_body(STEPS[kind][number + 1])
    error = InvalidMessage if alike else OutOfOrder
    assert ends_with(world, kind, number, lambda inner, _: inner.ask(following), error) == 0


@pytest.mark.parametrize(
    ("kind", "number", "old_number"),
    [
        *(("items", number, old) for number, old in ((2, 0), (3, 1), (4, 2), (4, 0))),
        ("packed", 2, 0),
        *(("textbook", number, old) for number, old in ((2, 0), (4, 1), (5, 3), (6, 4), (7, 5), (7, 0))),
    ],
)
def test_an_old_message_again(world: World, kind: str, number: int, old_number: int) -> None:
    """Older than the last one: its reply has arrived, so nobody may want it again."""
    old: list[pb.Round] = []

    class Keeping(Between):
        def ask(self, message: pb.Round) -> pb.Round:
            old.append(message)
            if len(old) - 1 == number:
                return self.inner.ask(old[old_number])
            return self.inner.ask(message)

    with driven(world, kind) as drive:
        world.wrap = Keeping
        with pytest.raises(OutOfOrder):
            drive()


def test_a_query_that_is_broken_off_is_over_for_its_user_at_s2(world: World) -> None:
    world.make_items()
    query = world.query(tiny_plan(), IMAGE)
    with closing(world.queries2.classify(query.s2, USER)) as waiting:
        next(waiting)
        world.wrap = lambda inner: At(inner, 0, again_with_another_byte)
        with pytest.raises(OutOfOrder):
            finish(world.queries1.classify(query.s1, USER))
        with pytest.raises(BrokenOff, match="broken off: ask again"):
            finish(waiting)


@pytest.mark.parametrize("body", ["labels", "spend", "make_item", "masked_sums", "open_query"])
def test_operation_n_plus_1(world: World, body: str) -> None:
    """After its last step a conversation answers nothing, and never again."""
    world.make_items()
    conversation = world.conversations.open(S1)
    world.wrap = lambda _: MemoryPeer(conversation)
    world.classify(tiny_model(), IMAGE)
    before = world.secret.operations
    for _ in range(2):
        with pytest.raises(OutOfOrder):
            conversation.handle(of_body(body))
    assert world.secret.operations == before


@pytest.mark.parametrize("role", ROLES)
def test_only_s1_converses(role: str) -> None:
    caller = PeerIdentity(role, "main", bytes(32), True)
    for method, allowed in TABLE.items():
        if role in allowed:
            authorise(method, caller)
        else:
            with pytest.raises(NotAllowed):
                authorise(method, caller)
    assert TABLE["/twinveil.rpc.Rounds/Converse"] == {"cloud_s1"}


class TestSplices:
    """Halves of different queries, clients, models or options never meet."""

    def test_halves_of_two_queries(self, world: World) -> None:
        first, second = world.query(tiny_plan(), IMAGE), world.query(tiny_plan(), IMAGE)
        waiting = world.queries2.classify(first.s2, USER)
        next(waiting)
        with pytest.raises(PeerUnavailable):
            finish(world.queries1.classify(second.s1, USER))

    @pytest.mark.parametrize("other", [{"model": "theirs"}, {"version": "2"}, {"label_only": True}, None])
    def test_halves_of_two_imports(self, world: World, other: dict[str, object] | None) -> None:
        """By one import's id, of another owner (None), name or policy: the honest half stays, and is used."""
        name = f"mine{len(world.provision2.list_models(OWNER))}"
        header, spliced = world.header(tiny_plan(), name), world.header(tiny_plan(), name)
        spliced.import_id = header.import_id
        for field, value in (other or {}).items():
            setattr(spliced, field, value)
        caller = OWNER if other else other_caller(OWNER)
        for_s1, for_s2 = world.halves(tiny_model())
        waiting = world.provision2.outsource(header, iter([for_s2]), OWNER)
        next(waiting)
        before = world.secret.operations
        with pytest.raises(PeerMismatch, match="different owners, models or policies"):
            finish(world.provision1.outsource(spliced, iter([for_s1]), caller))
        assert world.secret.operations == before
        finish(world.provision1.outsource(header, iter([for_s1]), OWNER))
        assert finish(waiting).model == name

    def test_halves_of_two_users(self, world: World) -> None:
        query = world.query(tiny_plan(), IMAGE)
        waiting = world.queries2.classify(query.s2, other_caller(USER))
        next(waiting)
        with pytest.raises(PeerMismatch):
            finish(world.queries1.classify(query.s1, USER))

    def test_a_wrong_binding_leaves_the_half_where_it_is(self, world: World) -> None:
        """Somebody who knows a query's id cannot break it off."""
        query = world.query(tiny_plan(), IMAGE)
        waiting = world.queries2.classify(query.s2, USER)
        next(waiting)
        for _ in range(2):
            with pytest.raises(PeerMismatch):
                finish(world.queries1.classify(query.s1, other_caller(USER)))
        half = finish(world.queries1.classify(query.s1, USER)).half
        found = answers.class_vectors(half, finish(waiting).half, tiny_plan(), 1)[0]
        assert (found == oracle.run(tiny_model(), IMAGE)).all()

    @pytest.mark.parametrize("change", [{"engine": "textbook"}, {"label_only": True}, {"name": "other"}])
    def test_halves_that_disagree(self, world: World, change: dict[str, Any]) -> None:
        world.make_items()
        ready = world.queries1.stock.count
        query, other = world.query(tiny_plan(), IMAGE), world.query(tiny_plan(), IMAGE, **change)
        other.s2.query_id = query.s1.query_id
        with closing(world.queries2.classify(other.s2, USER)) as waiting:
            next(waiting)
            before = world.secret.operations
            with pytest.raises(PeerMismatch):
                finish(world.queries1.classify(query.s1, USER))
            assert world.secret.operations == before
            assert world.queries1.stock.count == ready

    @pytest.mark.parametrize("wrong", ["import_id", "items"])
    def test_items_of_another_model(self, world: World, wrong: str) -> None:
        """The binding is right, but the items are another model's, or said to be: they are burnt, at both."""
        world.make_items()
        world.make_items(name="other")
        free = world.shelves.count
        (other,) = [held for held in world.queries1.stock._ready if held.lane.record.model == "other"]
        query = world.query(tiny_plan(), IMAGE)

        def act(inner: Peer, message: pb.Round) -> pb.Round:
            if wrong == "import_id":
                message.spend.import_id = other.lane.record.import_id
            else:
                message.spend.items[0].CopyFrom(other.item.name)
            return inner.ask(message)

        with closing(world.queries2.classify(query.s2, USER)) as waiting:
            next(waiting)
            world.wrap = lambda inner: At(inner, 0, act)
            with pytest.raises(AlreadyUsed, match="of another model"):
                finish(world.queries1.classify(query.s1, USER))
        assert world.shelves.count < free
        while world.queries1.stock.give_way():
            """S1 does not know which items S2 has burnt: only a wrong S1 names others than its query's."""

    @pytest.mark.parametrize("change", [{"engine": "textbook"}, {"import_id": "other"}, {"pictures": 2}])
    def test_a_conversation_for_another_kind_of_query(self, world: World, change: dict[str, Any]) -> None:
        """The halves belong together, but the conversation is for something else: nothing is spent."""
        other = world.models1.store.find("other", "1").import_id
        query, record = world.query(tiny_plan(), IMAGE), world.models1.store.find("tiny", "1")
        fields = {"import_id": record.import_id, "engine": "packed", "pictures": 1} | change
        fields |= {"import_id": other} if "import_id" in change else {}
        head = QueryHead(
            query.s1.query_id,
            USER.fingerprint.hex(),
            fields["import_id"],
            record.plan.hash,
            fields["engine"],
            False,
            fields["pictures"],
        )
        world.queries2._pending.deposit(query.s2.query_id, PendingQuery(UserQuery(head)))
        world.make_items()
        ready = world.queries1.stock.count

        def act(inner: Peer, message: pb.Round) -> pb.Round:
            message.spend.bind.binding = head.binding()
            return inner.ask(message)

        world.wrap = lambda inner: At(inner, 0, act)
        with pytest.raises(PeerMismatch, match="another kind"):
            finish(world.queries1.classify(query.s1, USER))
        assert world.queries1.stock.count == world.shelves.count == ready

    def test_a_claimed_query_is_not_claimed_again(self, world: World) -> None:
        query = world.query(tiny_plan(), IMAGE)
        world.ask(query)
        with pytest.raises(PeerUnavailable):
            finish(world.queries1.classify(query.s1, USER))
        with pytest.raises(AlreadyUsed):
            next(world.queries2.classify(query.s2, USER))

    def test_a_half_is_claimed_once_while_its_client_waits(self, world: World) -> None:
        query, header = world.query(tiny_plan(), IMAGE), world.header(tiny_plan(), "again")
        asking = world.queries2.classify(query.s2, USER)
        outsourcing = world.provision2.outsource(header, iter([world.halves(tiny_model())[1]]), OWNER)
        with closing(asking), closing(outsourcing):
            next(asking)
            next(outsourcing)
            world.queries2.claim(query.s2.query_id, 0.0, lambda head: None)
            world.provision2.claim(header.import_id, 0.0, lambda pending: None)
            with pytest.raises(PeerUnavailable, match="did not arrive"):
                world.queries2.claim(query.s2.query_id, 0.0, lambda head: None)
            with pytest.raises(PeerUnavailable, match="did not arrive"):
                world.provision2.claim(header.import_id, 0.0, lambda pending: None)

    def test_an_import_id_names_one_import(self, world: World) -> None:
        header, model = world.header(tiny_plan(), "again"), tiny_model()
        header.import_id = world.models2.store.find("tiny", "1").import_id
        halves = world.halves(model)
        for restart in (False, True):
            if restart:
                world.start()
            with pytest.raises(AlreadyUsed):
                next(world.provision2.outsource(header, iter([halves[1]]), OWNER))
            with pytest.raises(AlreadyUsed):
                next(world.provision1.outsource(header, iter([halves[0]]), OWNER))
