"""What a query takes, by formula: never less than it does, little more, and refused where it cannot end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from owner.clouds import Clouds
from owner.outsource import Offer, outsource
from owner.training.compile import default_plan
from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model, small_icnn_model
from tests.security.world import OWNER, USER
from twinveil.cloud.requests import read_header, read_query
from twinveil.cloud.store import Record
from twinveil.errors import BadPlan, TooMuch
from twinveil.estimate.cost import total
from twinveil.estimate.query import estimate
from twinveil.network.plan import Conv, Dense, Plan, QuantisedModel, Relu
from twinveil.params import Params
from twinveil.protocol.packed.layout import MAX_PICTURES
from twinveil.protocol.size import query_size, refuse_unrunnable
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.rounds.chunks import MessageLimits
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.provision_pb2 import ModelHeader

SMALL = Params(512, insecure_small_key=True)


def wide(side: int) -> Plan:
    """One valid network: few weights, a ReLU of 31 bits on every pixel."""
    return Plan(
        (1, side, side),
        8,
        (
            Conv("every", "image", 1, (1, 1), 1, 0, 2, 31),
            Relu("relu", "every", 0, 8),
            Conv("few", "relu", 1, (15, 15), 15, 0, 2, 31),
            Relu("left", "few", 0, 8),
            Dense("dense", "left", 2, 2, 31),
        ),
        0,
    )


def compare(plan: Plan, params: Params, engine: str, pictures: int, more: float) -> None:
    size = query_size(plan, params, engine, pictures)
    costs = estimate(plan, params, engine, pictures=pictures, label_only=True)
    exact = total(costs)
    frames = 8192 + 64 * exact.messages  # tags and lengths, base transfers
    for bound, found in (
        (size.longest, exact.largest),
        (size.sent, exact.sent),
        (size.received, exact.received),
    ):
        assert found - frames <= bound <= more * found + frames
    assert size.memory >= exact.circuits - frames


@pytest.mark.parametrize("pictures", [1, 3, MAX_PICTURES])
@pytest.mark.parametrize("seed", range(4))
def test_a_packed_query_takes_no_more(seed: int, pictures: int) -> None:
    compare(random_model(seed).plan, SMALL, "packed", pictures, more=2.1)


@pytest.mark.parametrize("seed", range(4))
def test_a_textbook_query_takes_no_more(seed: int) -> None:
    compare(random_model(seed, max_side=5, max_layers=2).plan, SMALL, "textbook", 1, more=30)


@pytest.mark.parametrize("pictures", [1, MAX_PICTURES])
def test_the_default_network_keeps_its_largest_query(pictures: int) -> None:
    compare(default_plan(), Params(), "packed", pictures, more=1.2)
    size = query_size(default_plan(), Params(), "packed", pictures)
    assert size.fault is None
    assert size.memory >> 20 == {1: 52, MAX_PICTURES: 828}[pictures]  # as docs/kits.md says


@pytest.mark.parametrize(("engine", "side"), [("packed", 280), ("packed", 590), ("textbook", 280)])
def test_a_network_whose_queries_cannot_end_is_refused(engine: str, side: int) -> None:
    with pytest.raises(BadPlan, match=r"a message of [0-9,]+ MiB, 128 are the most|the textbook engine runs"):
        refuse_unrunnable(wide(side), Params(), (engine,))
    refuse_unrunnable(wide(30), Params(), (engine,))


def test_a_picture_too_large_for_the_textbook_engine_is_refused() -> None:
    nodes = (
        Conv("conv", "image", 1, (1, 1), 15, 0, 2, 31),
        Relu("relu", "conv", 0, 8),
        Dense("dense", "relu", 2, 2, 31),
    )
    pixels = Plan((1, 512, 512), 8, nodes, 0)
    with pytest.raises(BadPlan, match=r"a message of [0-9,]+ MiB"):
        refuse_unrunnable(pixels, Params(), ("textbook",))


def test_a_conversation_has_its_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, limits = small_icnn_model(1).plan, MessageLimits(conversation_bytes=3 << 20)
    assert query_size(plan, SMALL, "packed", 1).fault is None
    query_size.cache_clear()
    monkeypatch.setattr("twinveil.protocol.size.MessageLimits", lambda: limits)
    fault = query_size(plan, SMALL, "packed", 4).fault
    query_size.cache_clear()
    assert fault is not None
    assert "in one direction, 3 are the most" in fault


def test_both_clouds_refuse_the_header_of_such_a_network() -> None:
    """Before a byte of the model is read; the owner refuses to send it in the first place."""
    key = secret_key(512).public_key
    plan = wide(280)
    header = ModelHeader(
        plan_json=plan.to_json(), engines=["packed"], key_fingerprint=bytes.fromhex(key.fingerprint)
    )
    with pytest.raises(BadPlan, match="a query of one picture has a message of"):
        read_header(header, OWNER, SMALL, key)  # what both clouds call
    nowhere = cast("Clouds", SimpleNamespace(key=key, params=SMALL))
    zeros = {node.name: np.zeros(plan.weight_shape(node), np.int64) for node in plan.linear_nodes}
    model = QuantisedModel(
        plan, zeros, {name: zero.reshape(len(zero), -1)[:, 0] for name, zero in zeros.items()}
    )
    with pytest.raises(BadPlan, match="a query of one picture has a message of"):
        outsource(model, Offer("wide", "1"), nowhere)


@pytest.mark.parametrize(("side", "fault"), [(50, "a message of 1[0-9]+ MiB"), (160, "1,048,576 values")])
def test_too_many_pictures_in_one_query_are_refused(side: int, fault: str) -> None:
    plan = wide(side)
    record = Record("wide", "1", bytes(16), ImportLayout(plan, SMALL, ("packed",)), False, "00", "main")
    query = QueryHalf(plan_hash=plan.hash, engine="packed", pictures=MAX_PICTURES)
    with pytest.raises(
        TooMuch, match=f"16 pictures of this model in one query have .*{fault}.*ask for fewer"
    ):
        read_query(query, USER, record, SMALL, secret_key(512).public_key.n)
