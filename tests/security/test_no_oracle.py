"""S2 acts on the steps of a query's plan only: in order, once, within its budget, for S1 alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.networks import random_image, random_model
from tests.security.faults import of_body
from tests.security.peers import At, Between, Twice
from tests.security.world import OWNER, S1, USER, World, finish, other_caller, tiny_model, tiny_plan
from twinveil.errors import AlreadyUsed, NotAllowed, OutOfOrder, PeerMismatch, PeerUnavailable
from twinveil.halves import answers
from twinveil.halves.blinding import picture_segment
from twinveil.halves.integers import model_plaintexts
from twinveil.network import oracle
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.binding import QueryHead
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb
from twinveil.transport.authorisation import TABLE, authorise
from twinveil.transport.identity import ROLES, PeerIdentity

IMAGE = np.arange(9, dtype=np.uint8).reshape(1, 3, 3) * 28
BOTH = ("packed", "textbook")
STEPS = 8
"""Messages of the tiny network's query."""


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
    """Decryptions of one packed query, from public data alone."""
    layout = PackedLayout(plan, world.params.key_bits, world.params.sigma)
    picture = picture_segment(plan, 1, key_bits=world.params.key_bits, sigma=world.params.sigma)
    return picture.plaintexts + sum(each.ahead_sums + each.online_sums for each in layout.layers.values())


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
    assert world.secret.operations - before == sum(model_plaintexts(model.plan, world.params))
    before, image = world.secret.operations, random_image(model.plan, seed)
    assert (world.classify(model, image) == oracle.run(model, image)).all()
    assert world.secret.operations - before == budget(world, model.plan)


def test_the_budget_of_the_textbook_engine(world: World) -> None:
    before = world.secret.operations
    world.classify(tiny_model(), IMAGE, "textbook")
    assert world.secret.operations - before == textbook_budget(tiny_plan())


@pytest.mark.parametrize("engine", ["packed", "textbook"])
def test_the_same_bytes_again_get_the_stored_reply(world: World, engine: str) -> None:
    peers: list[Twice] = []
    world.wrap = lambda inner: peers.append(Twice(inner)) or peers[-1]  # type: ignore[func-returns-value]
    before = world.secret.operations
    assert (world.classify(tiny_model(), IMAGE, engine) == oracle.run(tiny_model(), IMAGE)).all()
    assert all(first == second for first, second in peers[0].replies)
    due = budget(world, tiny_plan()) if engine == "packed" else textbook_budget(tiny_plan())
    assert world.secret.operations - before == due


def test_an_import_may_be_repeated_message_by_message(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.wrap = Twice
    world.outsource(tiny_model())
    world.wrap = lambda peer: peer
    assert (world.classify(tiny_model(), IMAGE) == oracle.run(tiny_model(), IMAGE)).all()


def ends_with(world: World, number: int, act: Callable[[Peer, pb.Round], pb.Round]) -> int:
    """A query whose message `number` meets `act` is refused; returns S2's decryptions from then on."""
    marks: list[int] = []

    def marked(inner: Peer, message: pb.Round) -> pb.Round:
        marks.append(world.secret.operations)
        return act(inner, message)

    world.wrap = lambda inner: At(inner, number, marked)
    query = world.query(tiny_plan(), IMAGE)
    waiting = world.queries2.classify(query.s2, USER)
    next(waiting)
    with pytest.raises(OutOfOrder):
        finish(world.queries1.classify(query.s1, USER))
    if 2 < number < STEPS - 1:
        with pytest.raises(PeerUnavailable):
            finish(waiting)
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


@pytest.mark.parametrize("number", range(STEPS))
def test_other_bytes_at_a_step_that_is_over(world: World, number: int) -> None:
    operations = ends_with(world, number, again_with_another_byte)
    assert operations <= budget(world, tiny_plan())


@pytest.mark.parametrize("number", range(1, STEPS))
def test_a_message_that_was_dropped(world: World, number: int) -> None:
    """The next one comes in its place."""
    following = {1: "bind", 2: "masked_plaintexts", 3: "garbled_batch", 4: "masked_sums"}.get(number)
    if following is None:
        following = "masked_sums" if number == 6 else "garbled_batch"
    assert ends_with(world, number, lambda inner, _: inner.ask(of_body(following))) == 0


@pytest.mark.parametrize(("number", "old_number"), [(2, 0), (4, 1), (5, 3), (6, 4), (7, 5), (7, 0)])
def test_an_old_message_again(world: World, number: int, old_number: int) -> None:
    """Older than the last one: its reply has arrived, so nobody may want it again."""
    old: list[pb.Round] = []

    class Keeping(Between):
        def ask(self, message: pb.Round) -> pb.Round:
            old.append(message)
            if len(old) - 1 == number:
                return self.inner.ask(old[old_number])
            return self.inner.ask(message)

    world.wrap = Keeping
    query = world.query(tiny_plan(), IMAGE)
    waiting = world.queries2.classify(query.s2, USER)
    next(waiting)
    with pytest.raises(OutOfOrder):
        finish(world.queries1.classify(query.s1, USER))


@pytest.mark.parametrize("body", ["masked_sums", "garbled_batch", "open_query"])
def test_operation_n_plus_1(world: World, body: str) -> None:
    """After its last step a conversation answers nothing, and never again."""
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
        name = f"mine{len(world.provision2.list_models())}"
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

    @pytest.mark.parametrize("change", [{"engine": "textbook"}, {"label_only": True}, {"model": "other"}])
    def test_halves_that_disagree(self, world: World, change: dict[str, object]) -> None:
        query = world.query(tiny_plan(), IMAGE)
        for field, value in change.items():
            setattr(query.s2, field, value)
        waiting = world.queries2.classify(query.s2, USER)
        next(waiting)
        before = world.secret.operations
        with pytest.raises(PeerMismatch):
            finish(world.queries1.classify(query.s1, USER))
        assert world.secret.operations - before <= budget(world, tiny_plan())

    @pytest.mark.parametrize("change", [{"engine": "textbook"}, {"import_id": "other"}])
    def test_a_conversation_for_another_kind_of_query(self, world: World, change: dict[str, str]) -> None:
        """The binding is right, but the conversation was opened for something else."""
        other = world.models1.store.find("other", "1")
        query = world.query(tiny_plan(), IMAGE)
        waiting = world.queries2.classify(query.s2, USER)
        next(waiting)

        def act(inner: Peer, message: pb.Round) -> pb.Round:
            if "engine" in change:
                message.open_query.engine = change["engine"]
            else:
                message.open_query.import_id = other.import_id
            return inner.ask(message)

        def empty_prepare(inner: Peer, message: pb.Round) -> pb.Round:
            if "engine" in change:
                message.prepare.masked_sums = b""
            reply = inner.ask(message)
            bind = pb.Round()
            bind.bind.query_id = query.s1.query_id
            record = world.models1.store.find("tiny", "1")
            bind.bind.binding = self._binding(world, query.s1.query_id, record.import_id)
            inner.ask(bind)
            return reply

        world.wrap = lambda inner: At(At(inner, 1, empty_prepare), 0, act)
        with pytest.raises(PeerMismatch, match="another kind"):
            finish(world.queries1.classify(query.s1, USER))

    def _binding(self, world: World, query_id: bytes, import_id: bytes) -> bytes:
        plan = tiny_plan()
        return QueryHead(query_id, USER.fingerprint.hex(), import_id, plan.hash, "packed", False, 1).binding()

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
