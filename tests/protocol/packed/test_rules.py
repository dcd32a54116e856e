"""The rules for what is made ahead: each holds, and an engine that breaks it is found by the same check."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_image, small_icnn_model
from tests.protocol.packed.clouds import Engine, Imported
from twinveil.crypto import nonces
from twinveil.crypto.native.residues import Residues
from twinveil.crypto.shared import FixedBases
from twinveil.crypto.tally import Tally
from twinveil.errors import AlreadyUsed, OutOfOrder, PeerMismatch, TwinveilError
from twinveil.halves.ring import read_picture_half, share_picture
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, QuantisedModel
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed import masking, powers
from twinveil.protocol.packed.geometry import Index, placed
from twinveil.protocol.packed.item import s1 as item_s1
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.online import s1 as online_s1
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.protocol.packed.plan import ItemPlan, Values
from twinveil.ring import Words, modulo, uniform
from twinveil.rounds.observer import Blind, Masking
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def model() -> QuantisedModel:
    return small_icnn_model(4)


class Decrypted(Blind):
    """Every plaintext that S2 has decrypted."""

    def __init__(self) -> None:
        self.plaintexts: list[mpz] = []

    def decrypted(self, name: str, plaintexts: Sequence[mpz], masking: Masking | None) -> None:
        self.plaintexts += plaintexts


@pytest.fixture(scope="module")
def clouds(model: QuantisedModel) -> Imported:
    return Imported(model, observer=Decrypted())


class Ledger:
    """What an item is made of, written down where it is used."""

    def __init__(self, patch: Patch) -> None:
        self.u: dict[str, Words] = {}
        self.packed: list[Words] = []
        self.raised: list[Words] = []
        self.masks: list[tuple[int, list[mpz]]] = []
        self.nonces: list[int] = []
        raise_to, draw, pack, share = FixedBases.products, masking.draw, item_s2.pack, item_s2.uniform
        randbits = nonces.secrets.randbits

        def products(self_: FixedBases, exponents: Words, *rest: Any) -> Residues:
            self.raised.append(exponents.copy())
            return raise_to(self_, exponents, *rest)

        def drawing(count: int, bits: int) -> list[mpz]:
            made = draw(count, bits)
            self.masks.append((bits, made))
            return made

        def packing(values: Words, bits: int) -> list[mpz]:
            self.packed.append(values.copy())
            return pack(values, bits)

        def sharing(shape: tuple[int, ...], bits: int) -> Words:
            made = share(shape, bits)
            self.u[str(len(self.u))] = made
            return made

        class Random:
            @staticmethod
            def randbits(bits: int) -> int:
                self.nonces.append(bits)
                return randbits(bits)

        patch.setattr(FixedBases, "products", products)
        patch.setattr(masking, "draw", drawing)
        patch.setattr(item_s2, "pack", packing)
        patch.setattr(item_s2, "uniform", sharing)
        patch.setattr(nonces, "secrets", Random)


def made(clouds: Imported, patch: Patch) -> tuple[Engine, Ledger]:
    """An item, and what it is made of; a broken engine may fail at it."""
    engine, ledger = Engine(clouds), Ledger(patch)
    with contextlib.suppress(TwinveilError, ValueError):
        engine.make()
    return engine, ledger


# 1. r, u are reduced modulo the layer's own 2^L before they are exponents or plaintexts; zero at padding.


def unreduced(engine: Engine, ledger: Ledger) -> set[str]:
    found = set()
    raised = iter(ledger.raised)
    for layer, packed in zip(engine.plan.layout.layers.values(), ledger.packed, strict=False):
        used = [("plaintext", packed, layer.inputs.inputs)]
        used += [("exponent", next(raised, None), layer.kernel.reads.T) for _ in range(layer.kernel.chunks)]
        for what, values, index in used:
            if values is None:
                continue
            if (values >> np.uint64(layer.ring)).any():
                found.add(f"{what} not reduced")
            if values[index == 0].any():
                found.add(f"{what} at padding")
    return found


def test_what_is_raised_and_packed_is_reduced(clouds: Imported, monkeypatch: Patch) -> None:
    engine, ledger = made(clouds, monkeypatch)
    layers = engine.plan.layout.layers.values()
    assert len(ledger.packed) == len(layers)
    assert len(ledger.raised) == sum(layer.kernel.chunks for layer in layers)
    assert unreduced(engine, ledger) == set()


def whole(values: Words, index: Index, ring: int) -> Words:
    return placed(values, index, 31)


def padded(values: Words, index: Index, ring: int) -> Words:
    return np.where(index == 0, np.uint64(1), placed(values, index, ring))


@pytest.mark.parametrize(
    ("where", "wrong", "finding"),
    [
        (item_s2, whole, "plaintext not reduced"),
        (item_s2, padded, "plaintext at padding"),
        (powers, whole, "exponent not reduced"),
        (powers, padded, "exponent at padding"),
    ],
)
def test_broken_where_it_is_not(
    clouds: Imported, monkeypatch: Patch, where: object, wrong: Callable[..., Words], finding: str
) -> None:
    monkeypatch.setattr(where, "placed", wrong)
    assert finding in unreduced(*made(clouds, monkeypatch))


# 2. No u serves two tensors, no mask two plaintexts; e is opened once a tensor.


def shared_draws(ledger: Ledger) -> set[str]:
    found = set()
    # Of the first five values the low bits, which every modulus keeps; smaller tensors may agree by chance.
    rows = [values.reshape(-1)[:5] & np.uint64(0xFF) for values in ledger.u.values() if values.size > 4]
    if len({row.tobytes() for row in rows}) < len(rows):
        found.add("one u for two tensors")
    masks = [mask for _, drawn in ledger.masks for mask in drawn]
    if len(set(masks)) < len(masks):
        found.add("one mask for two plaintexts")
    return found


def opened_twice(plan: ItemPlan) -> list[str]:
    pieces = plan.layout.schedule.pieces
    turns = [plan.turn(index, True)[: None if index else 0] for index in range(len(plan.stages))]
    counts = Counter(each.name for turn in turns for each in turn if each.name in pieces)
    return [name for name, count in counts.items() if count > 1]


def test_every_tensor_has_a_u_and_every_plaintext_a_mask(clouds: Imported, monkeypatch: Patch) -> None:
    engine, ledger = made(clouds, monkeypatch)
    read = {name for step in engine.plan.layout.steps for name in step.inputs}
    assert len(ledger.u) == len(read)
    assert sum(len(drawn) for _, drawn in ledger.masks) == engine.plan.layout.sums
    assert len(ledger.masks) == 2 * len(engine.plan.layout.layers)
    assert shared_draws(ledger) == set()
    assert opened_twice(engine.plan) == []


def test_broken_with_one_u_for_all(clouds: Imported, monkeypatch: Patch) -> None:
    stock = uniform((1 << 12,), 31)

    def again(shape: tuple[int, ...], bits: int) -> Words:
        return modulo(stock[: int(np.prod(shape))].reshape(shape), bits)

    monkeypatch.setattr(item_s2, "uniform", again)
    assert shared_draws(made(clouds, monkeypatch)[1]) == {"one u for two tensors"}


def test_broken_with_one_mask_for_both_sums(clouds: Imported, monkeypatch: Patch) -> None:
    draw, kept = masking.draw, dict[int, list[mpz]]()

    def again(count: int, bits: int) -> list[mpz]:
        stock = kept.setdefault(bits, draw(100, bits))
        return stock[:count]

    monkeypatch.setattr(masking, "draw", again)
    assert shared_draws(made(clouds, monkeypatch)[1]) == {"one mask for two plaintexts"}


def test_broken_where_e_is_opened_by_every_branch(clouds: Imported, monkeypatch: Patch) -> None:
    plan, turn = ItemPlan(clouds.layout.item), ItemPlan.turn

    def again(self: ItemPlan, index: int, label_only: bool) -> list[Values]:
        read = {name for step in self.stages[index].linear for name in step.inputs}
        pieces = [self.layout.schedule.pieces[name] for name in read]
        opened = [Values(piece.name, piece.shape, piece.share_bits) for piece in pieces]
        return turn(self, index, label_only) + opened

    monkeypatch.setattr(ItemPlan, "turn", again)
    assert opened_twice(plan)


# What is drawn, u, r and rho, takes all its bits, and no item has a draw of another's.


Draws = list[tuple[str, int, Words]]


def drawn(clouds: Imported, patch: Patch) -> Draws:
    """Of one item: u of every tensor, r and rho of every circuit, each with its width."""
    _, mine, theirs = one_item(clouds, patch)
    (circuits, _), (held, u, _) = mine.spend(), theirs.spend()
    plan = ItemPlan(clouds.layout.item)
    widths = {name: piece.share_bits for name, piece in plan.layout.schedule.pieces.items()}
    inputs = {node.name: node.accumulator_bits for node in plan.layout.plan.linear_nodes}
    inputs[IMAGE] = clouds.model.plan.image_bits
    found = [("u", widths[name], values) for name, values in u.items()]
    for half in circuits:
        found += [("r", widths[name], values) for name, values in half.masks.items() if name in widths]
    for each in held:
        found += [("rho", inputs[name], values) for name, values in each.drawn.items()]
    return [(what, bits, values.reshape(-1)) for what, bits, values in found if values.size >= 40]


def narrow_draws(draws: Draws) -> set[str]:
    """Where a bit is never or always set, or one is set above the width."""
    found = set()
    for what, bits, values in draws:
        ones, zeros = np.bitwise_or.reduce(values), np.bitwise_or.reduce(modulo(~values, bits))
        if {int(ones), int(zeros)} != {(1 << bits) - 1}:
            found.add(what)
    return found


def repeated(first: Draws, second: Draws) -> set[str]:
    pairs = zip(first, second, strict=True)
    return {what for (what, _, one), (_, _, other) in pairs if (one[:8] == other[:8]).all()}


def test_draws_take_all_their_bits_and_are_fresh(clouds: Imported, monkeypatch: Patch) -> None:
    first, second = (drawn(clouds, monkeypatch) for _ in range(2))
    assert {what for what, _, _ in first} == {"u", "r", "rho"}
    assert narrow_draws(first) == narrow_draws(second) == set()
    assert repeated(first, second) == set()


def test_broken_with_a_u_of_one_bit_less(clouds: Imported, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s2, "uniform", lambda shape, bits: uniform(shape, bits - 1))
    assert narrow_draws(drawn(clouds, monkeypatch)) == {"u"}


def test_broken_with_the_same_u_for_every_item(clouds: Imported, monkeypatch: Patch) -> None:
    stock = uniform((1 << 12,), 31)
    again = lambda shape, bits: modulo(stock[: int(np.prod(shape))].reshape(shape), bits)  # noqa: E731
    monkeypatch.setattr(item_s2, "uniform", again)
    assert repeated(drawn(clouds, monkeypatch), drawn(clouds, monkeypatch)) == {"u"}


# 3. The r of the circuit is the r of the exponents; only what a linear layer reads has an r and a u.


def test_only_what_a_linear_layer_reads_has_masks(clouds: Imported) -> None:
    engine = Engine(clouds)
    engine.make()
    circuits, _ = engine.items_s1[0].spend()
    read = {name for step in engine.plan.layout.steps for name in step.inputs}
    assert {name for half in circuits for name in half.masks} == read | {"label"}
    pools = [step.name for stage in engine.plan.stages for step in stage.pools]
    assert set(pools) & read
    assert set(pools) - read


def exact(clouds: Imported) -> bool:
    engine, image = Engine(clouds), random_image(clouds.model.plan, 0)[None]
    engine.make()
    return bool((engine.classify(image) == oracle.run_batch(clouds.model, image)).all())


def test_broken_where_exponents_have_another_r(clouds: Imported, monkeypatch: Patch) -> None:
    joined = item_s1.joined

    def another(step: Any, pieces: Any) -> Words:
        found = joined(step, pieces)
        return found ^ np.uint64(1) if step.node is clouds.model.plan.output else found

    assert exact(clouds)
    monkeypatch.setattr(item_s1, "joined", another)
    assert not exact(clouds)


# 4. What S1 sends ahead and online: tables first, then labels, one message a stage after S2's.


def test_tables_leave_ahead_and_labels_in_one_message_a_stage(
    model: QuantisedModel, clouds: Imported
) -> None:
    engine, asked = Engine(clouds), list[str]()
    ask = engine.peer.ask

    def watched(message: pb.Round) -> pb.Round:
        reply = ask(message)
        asked.extend((message.WhichOneof("body"), reply.WhichOneof("body")))
        return reply

    engine.peer.ask = engine.maker._ask = watched  # type: ignore[method-assign]
    engine.make()
    assert asked == ["make_item", "item_inputs", "item_offer", "item_words"]
    asked.clear()
    engine.classify(random_image(model.plan, 0)[None])
    stages = len(engine.plan.stages) - 1
    assert asked == ["bind", "shared_turn", *["labels", "shared_turn"] * stages]


# 5. One life. Used twice, S2's first turns would show S1 the difference of two pictures.


def pictures_differ_by(first: bytes, second: bytes, halves: Sequence[Words], plan: ItemPlan) -> Words:
    """What S1 computes from two first turns and the halves that it was given."""
    turns = [plan_turn(plan, each) for each in (first, second)]
    return turns[0] ^ turns[1] ^ halves[0] ^ halves[1]


def plan_turn(plan: ItemPlan, data: bytes) -> Words:
    return read_picture_half(plan.layout.plan, data)


def two_pictures_on(item: ItemS2, clouds: Imported, plan: ItemPlan) -> tuple[Words, npt.NDArray[np.uint8]]:
    """What S1 finds the difference of two pictures to be, and what it is."""
    images = [random_image(clouds.model.plan, seed) for seed in (1, 2)]
    sent = [share_picture(image, clouds.model.plan) for image in images]
    mine, theirs = ([read_picture_half(clouds.model.plan, pair[side]) for pair in sent] for side in (0, 1))
    first, second = (online_s2.PicturesS2(clouds.s2, plan, [item], [half]).first for half in theirs)
    return pictures_differ_by(first, second, mine, plan), images[0] ^ images[1]


def one_item(clouds: Imported, patch: Patch) -> tuple[Engine, ItemS1, ItemS2]:
    kept: list[ItemS2] = []
    init = ItemS2.__init__

    def keeping(self: ItemS2, *arguments: Any) -> None:
        init(self, *arguments)
        kept.append(self)

    patch.setattr(ItemS2, "__init__", keeping)
    engine = Engine(clouds)
    engine.make()
    return engine, engine.items_s1.pop(), kept.pop()


def test_an_item_is_spent_once(clouds: Imported, monkeypatch: Patch) -> None:
    engine, mine, theirs = one_item(clouds, monkeypatch)
    with pytest.raises(AlreadyUsed, match="serves one picture"):
        two_pictures_on(theirs, clouds, engine.plan)
    half = read_picture_half(
        clouds.model.plan, share_picture(random_image(clouds.model.plan, 0), clouds.model.plan)[0]
    )
    online_s1.PicturesS1(clouds.s1, engine.plan, [mine], [half])
    with pytest.raises(AlreadyUsed, match="serves one picture"):
        online_s1.PicturesS1(clouds.s1, engine.plan, [mine], [half])


def test_broken_where_an_item_is_not_used_up(clouds: Imported, monkeypatch: Patch) -> None:
    engine, _, theirs = one_item(clouds, monkeypatch)
    held = theirs._held
    monkeypatch.setattr(ItemS2, "spend", lambda self: held)
    found, difference = two_pictures_on(theirs, clouds, engine.plan)
    assert (found == difference).all()


def test_nothing_of_an_item_is_copied_or_pickled(clouds: Imported, monkeypatch: Patch) -> None:
    engine, mine, theirs = one_item(clouds, monkeypatch)
    half = np.zeros(clouds.model.plan.image_shape, np.uint64)
    circuits = mine._held[0] if mine._held else ()
    pictures = online_s1.PicturesS1(clouds.s1, engine.plan, [mine], [half])
    for single in (mine, theirs, pictures, engine.maker, *circuits):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(single)
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copy.copy(single)
        assert "(...)" in repr(single)


def all_dead(engine: Engine) -> bool:
    gc.collect()
    return all(item() is None for item in engine.alive_s2)


@pytest.mark.parametrize("bad", ["short labels", "another step", "an item out of turn"])
def test_an_error_burns_every_item_of_its_conversation(clouds: Imported, bad: str) -> None:
    engine = Engine(clouds)
    engine.make(2)
    assert not all_dead(engine)
    engine.halves_s2 = [np.zeros(clouds.model.plan.image_shape, np.uint64)]
    if bad == "short labels":
        engine.peer.ask(pb.Round(bind=pb.Bind()))
    message = {
        "short labels": pb.Round(labels=pb.Labels(labels=b"short")),
        "another step": pb.Round(done=pb.Done()),
        "an item out of turn": pb.Round(make_item=pb.MakeItem(number=7)),
    }[bad]
    with pytest.raises(TwinveilError):
        engine.peer.ask(message)
    assert all_dead(engine)
    with pytest.raises(OutOfOrder):
        engine.make()


def test_the_end_of_its_conversation_is_the_end_of_an_item(clouds: Imported) -> None:
    engine = Engine(clouds)
    engine.make()
    engine.peer.close()
    assert all_dead(engine)


def test_broken_where_items_outlive_their_conversation(clouds: Imported, monkeypatch: Patch) -> None:
    engine, _, theirs = one_item(clouds, monkeypatch)
    engine.peer.close()
    assert not all_dead(engine)
    assert theirs._held


# 6. S2 burns an item before the first byte of (d xor m) xor rho exists; in a query of several, all of them.


def burnt_at_the_first_byte(
    pictures: type[online_s2.PicturesS2], items: Sequence[ItemS2], clouds: Imported
) -> bool:
    half = np.zeros(clouds.model.plan.image_shape, np.uint64)
    made = pictures(clouds.s2, ItemPlan(clouds.layout.item), items, [half] * len(items))
    return bool(made.first) and not any(item._held for item in items)


def test_items_are_burnt_before_anything_is_sent(clouds: Imported, monkeypatch: Patch) -> None:
    items = [one_item(clouds, monkeypatch)[2] for _ in range(2)]
    assert burnt_at_the_first_byte(online_s2.PicturesS2, items, clouds)


def test_broken_where_they_are_burnt_later(clouds: Imported, monkeypatch: Patch) -> None:
    class Late(online_s2.PicturesS2):
        def __init__(self, model: Any, plan: Any, items: Sequence[ItemS2], halves: Any) -> None:
            held = [item._held for item in items]
            super().__init__(model, plan, items, halves)
            for item, each in zip(items, held, strict=True):
                item._held = each

    items = [one_item(clouds, monkeypatch)[2] for _ in range(2)]
    assert not burnt_at_the_first_byte(Late, items, clouds)


def test_items_that_do_not_fit_the_pictures_are_burnt_too(clouds: Imported, monkeypatch: Patch) -> None:
    engine, mine, theirs = one_item(clouds, monkeypatch)
    for pictures, model, item in (
        (online_s1.PicturesS1, clouds.s1, mine),
        (online_s2.PicturesS2, clouds.s2, theirs),
    ):
        with pytest.raises(OutOfOrder, match="a picture takes one item"):
            pictures(model, engine.plan, [item], [])  # type: ignore[arg-type]
        assert item._held is None


# 7. An item is bound to import, layout, key, policy and version: S2 compares before it makes one.


def opened_with(clouds: Imported, what: str) -> None:
    """Open a conversation for items in which S1 means something else by `what`."""
    engine = Engine(clouds)
    import_id, plan, machine, model = clouds.import_id, engine.plan, clouds.machine, clouds.s1
    match what:
        case "import":
            import_id = bytes(16)
        case "layout":
            model = copy.copy(model)
            model.layout = ModelLayout(clouds.model.plan, 512, PACKED_SIGMA + 1)
        case "key":
            machine = powers.Machine(secret_key(768).public_key, machine.workers, Tally())
    MakerS1(engine.conversation(), import_id, model, plan, machine, label_only=what == "policy")


@pytest.mark.parametrize("what", ["import", "layout", "key", "policy"])
def test_another_binding_is_refused(clouds: Imported, what: str) -> None:
    opened_with(clouds, "nothing")
    with pytest.raises(PeerMismatch, match="the clouds differ in this model"):
        opened_with(clouds, what)


def test_another_version_is_refused(clouds: Imported, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s1, "ROUNDS_VERSION", 99)
    with pytest.raises(PeerMismatch, match="protocol version 99"):
        opened_with(clouds, "nothing")


def test_broken_where_bindings_are_not_compared(clouds: Imported, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s2.hmac, "compare_digest", lambda *_: True)
    opened_with(clouds, "policy")


# 9. An item is one picture; several take several, each with its own rho.


def test_two_pictures_take_two_items(clouds: Imported, monkeypatch: Patch) -> None:
    engine, mine, theirs = one_item(clouds, monkeypatch)
    half = np.zeros(clouds.model.plan.image_shape, np.uint64)
    with pytest.raises(AlreadyUsed):
        online_s2.PicturesS2(clouds.s2, engine.plan, [theirs, theirs], [half, half])
    with pytest.raises(AlreadyUsed):
        online_s1.PicturesS1(clouds.s1, engine.plan, [mine, mine], [half, half])


def one_rho_for_two(items: Sequence[ItemS2], clouds: Imported) -> bool:
    """Whether two empty pictures look alike to S1, side by side."""
    half = np.zeros(clouds.model.plan.image_shape, np.uint64)
    first = online_s2.PicturesS2(clouds.s2, ItemPlan(clouds.layout.item), items, [half, half]).first
    return first[: len(first) // 2] == first[len(first) // 2 :]


def test_pictures_side_by_side_have_their_own_rho(clouds: Imported, monkeypatch: Patch) -> None:
    items = [one_item(clouds, monkeypatch)[2] for _ in range(2)]
    assert not one_rho_for_two(items, clouds)


def test_broken_with_one_item_for_two_pictures(clouds: Imported, monkeypatch: Patch) -> None:
    theirs = one_item(clouds, monkeypatch)[2]
    held = theirs._held
    monkeypatch.setattr(ItemS2, "spend", lambda self: held)
    assert one_rho_for_two([theirs, theirs], clouds)


# 10. sigma counts every item that is made; masks and nonces are as wide as it asks for.


def too_narrow(engine: Engine, ledger: Ledger, plaintexts: Sequence[mpz]) -> set[str]:
    """Masks against the layout; what S2 decrypted is a sum in its range plus its mask."""
    layout, found = engine.plan.layout, set()
    wide = [sheet for sheet in engine.plan.sheets for _ in sheet.outputs]
    drawn = [mask for _, masks in ledger.masks for mask in masks]
    for sheet, (bits, masks) in zip(engine.plan.sheets, ledger.masks, strict=True):
        if bits < sheet.slots.plaintext_bits + layout.margin:
            found.add("a mask is planned too narrow")
        if max(int(mask).bit_length() for mask in masks) < bits - 40 // len(masks) - 8:
            found.add("a mask is narrower than planned")
    for sheet, mask, z in zip(wide, drawn, plaintexts, strict=True):
        if not 0 <= z - mask < 1 << sheet.slots.plaintext_bits:
            found.add("a plaintext that is no sum and its mask")
    n = engine.clouds.secret.public_key.bits
    if set(ledger.nonces) != {n + max(layout.margin, 64), 2 * 128 + 40}:
        found.add("nonces of another length")
    return found


def looked_at(clouds: Imported, patch: Patch) -> set[str]:
    observer = clouds.observer
    assert isinstance(observer, Decrypted)
    observer.plaintexts.clear()
    engine, ledger = made(clouds, patch)
    return too_narrow(engine, ledger, observer.plaintexts)


def test_masks_and_nonces_are_as_wide_as_sigma_asks(clouds: Imported, monkeypatch: Patch) -> None:
    layout = clouds.layout.item
    assert layout.sigma == PACKED_SIGMA == 64
    assert layout.sums <= 1 << (layout.margin - 64)
    assert looked_at(clouds, monkeypatch) == set()


def test_broken_with_masks_60_bits_too_short(clouds: Imported, monkeypatch: Patch) -> None:
    draw = masking.draw
    monkeypatch.setattr(masking, "draw", lambda count, bits: draw(count, bits - 60))
    assert "a mask is narrower than planned" in looked_at(clouds, monkeypatch)


def test_broken_with_masks_for_a_sigma_of_40(clouds: Imported, monkeypatch: Patch) -> None:
    sheet = masking.Sheet

    def narrow(slots: Any, ring: int, mask_bits: int, *rest: Any) -> masking.Sheet:
        return sheet(slots, ring, mask_bits - 24, *rest)

    monkeypatch.setattr("twinveil.protocol.packed.plan.Sheet", narrow)
    assert looked_at(clouds, monkeypatch) == {"a mask is planned too narrow"}


@pytest.mark.parametrize("source", [nonces.Rerandomiser, nonces.Encryptor])
def test_broken_with_shorter_nonces(clouds: Imported, monkeypatch: Patch, source: Any) -> None:
    init = source.__init__
    monkeypatch.setattr(source, "__init__", lambda self, key, tally, more=0: init(self, key, tally))
    assert looked_at(clouds, monkeypatch) == {"nonces of another length"}
