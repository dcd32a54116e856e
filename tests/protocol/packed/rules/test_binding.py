"""An item is bound to import, layout, key, policy and version; a query is held to its model's policy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_image, small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch
from twinveil.errors import AlreadyUsed, NotAllowed, PeerMismatch
from twinveil.network import oracle
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.packed.item import s1 as item_s1
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import Machine

pytestmark = pytest.mark.slow


def opened_with(clouds: Opened, patch: Patch, what: str) -> None:
    """Open a conversation for items in which S1 means something else by `what`."""
    maker = item_s1.MakerS1

    def another(peer: Any, import_id: bytes, model: Any, plan: Any, machine: Machine, *rest: Any) -> Any:
        match what:
            case "import":
                import_id = bytes(16)
            case "layout":
                model = copy.copy(model)
                model.layout = ModelLayout(clouds.model.plan, 512, PACKED_SIGMA + 1)
            case "key":
                machine = Machine(secret_key(768).public_key, machine.workers)
            case "policy":
                rest = (not rest[0], *rest[1:])
        return maker(peer, import_id, model, plan, machine, *rest)

    with patch.context() as here:
        here.setattr("twinveil.rehearsal.clouds.MakerS1", another)
        clouds.make_items(0)


BOUND = ["layout", "key", "policy"]


@pytest.mark.parametrize("what", BOUND)
def test_another_binding_is_refused(clouds: Opened, monkeypatch: Patch, what: str) -> None:
    with pytest.raises(PeerMismatch, match="the clouds differ in this model"):
        opened_with(clouds, monkeypatch, what)
    clouds.end_items()
    opened_with(clouds, monkeypatch, "nothing")


def test_another_import_has_its_own_items(clouds: Opened, monkeypatch: Patch) -> None:
    """S2 takes the model that S1 names: such an item serves that model's queries and no others."""
    opened_with(clouds, monkeypatch, "import")
    with pytest.raises(AlreadyUsed, match="or of another model"):
        ask(clouds, label_only=False)


def test_another_version_is_refused(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(item_s1, "ROUNDS_VERSION", 99)
    with pytest.raises(PeerMismatch, match="protocol version 99"):
        opened_with(clouds, monkeypatch, "nothing")


def test_every_field_is_part_of_the_binding(clouds: Opened, monkeypatch: Patch) -> None:
    plan = clouds.plan
    one = plan.binding(b"import", b"layout", "key", False)
    others = [
        plan.binding(b"another", b"layout", "key", False),
        plan.binding(b"import", b"another", "key", False),
        plan.binding(b"import", b"layout", "another", False),
        plan.binding(b"import", b"layout", "key", True),
    ]
    monkeypatch.setattr("twinveil.protocol.packed.plan.ROUNDS_VERSION", 99)
    others.append(plan.binding(b"import", b"layout", "key", False))
    assert len({one, *others}) == 6


@pytest.mark.parametrize("what", BOUND)
def test_broken_where_bindings_are_not_compared(clouds: Opened, monkeypatch: Patch, what: str) -> None:
    monkeypatch.setattr(item_s2.hmac, "compare_digest", lambda *_: True)
    opened_with(clouds, monkeypatch, what)


# The owner's policy: no class vector leaves S2, even where items were made for another policy.


@pytest.fixture
def labels_only() -> Opened:
    return Opened(small_icnn_model(4), label_only=True)


def ask(clouds: Opened, label_only: bool) -> bool:
    """Whether the answer is the oracle's."""
    model, image = clouds.model, random_image(clouds.model.plan, 3)[None]
    want: Any = oracle.classify_batch(model, image) if label_only else oracle.run_batch(model, image)
    return bool(np.array_equal(clouds.classify(image, label_only=label_only).values, want))


def test_the_class_vector_is_refused_and_costs_nothing(labels_only: Opened) -> None:
    labels_only.make_items(1)
    with pytest.raises(NotAllowed, match="the owner allows only the label"):
        ask(labels_only, label_only=False)
    assert (len(labels_only.items_s1), labels_only.shelves.count) == (1, 1)
    assert ask(labels_only, label_only=True)
    assert labels_only.shelves.count == 0


def test_broken_where_the_query_is_not_held_to_the_policy(labels_only: Opened, monkeypatch: Patch) -> None:
    check = QueryHead.check
    monkeypatch.setattr(QueryHead, "check", lambda self, *arguments: check(self, *arguments[:-1], False))
    assert ask(labels_only, label_only=False)


def test_broken_where_items_are_not_bound_to_the_policy(labels_only: Opened, monkeypatch: Patch) -> None:
    """S1 takes the model for one without a policy; S2 still refuses the vector."""
    binding = ItemPlan.binding
    monkeypatch.setattr(ItemPlan, "binding", lambda self, *arguments: binding(self, *arguments[:-1], False))
    opened_with(labels_only, monkeypatch, "policy")
    with pytest.raises(NotAllowed):
        ask(labels_only, label_only=False)
