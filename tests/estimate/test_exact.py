"""What `estimate` says is what the clouds measure: bytes, messages and operations, to the last one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import few_of, random_image, random_model, small_icnn_model
from tests.protocol.packed.default import default_plan
from twinveil.crypto.tally import Tally
from twinveil.estimate.cost import Cost, Costs
from twinveil.estimate.query import estimate, import_cost
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.meter import Meter
from twinveil.protocol.turns import COMMIT
from twinveil.rehearsal.clouds import Answered, Clouds
from twinveil.rounds.counted import CountedPeer, Traffic
from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import Script
from twinveil.rounds.wire import round_bytes
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


class CountedClouds(Clouds):
    """traffic: of each conversation, in the order in which they began."""

    def __post_init__(self) -> None:
        self.counted: list[CountedPeer] = []
        self._before = Tally(self.secret.tally.as_dict())
        super().__post_init__()
        self.imported = Tally(self.machine.tally.as_dict()), _difference(self.secret.tally, self._before)

    def peer(self, script: Callable[[pb.Round], Script], s1: Observer, s2: Observer) -> Peer:
        self.counted.append(CountedPeer(super().peer(script, s1, s2)))
        return self.counted[-1]


def _difference(after: Tally, before: Tally) -> Tally:
    return Tally({kind: count - before[kind] for kind, count in after.as_dict().items()})


def agree(costs: Costs, answered: Answered) -> None:
    """Function by function, at both clouds."""
    s1, s2 = answered.meter_s1, answered.meter_s2
    assert s1.peer is not None
    assert set(costs) == set(s1.functions)
    assert set(s2.functions) <= set(costs)
    for name, cost in costs.items():
        assert (name, *_traffic(cost)) == (name, *_seen(s1.peer.by_label.get(name, Traffic())))
        assert (name, cost.s1) == (name, s1.functions[name].operations)
        assert (name, cost.s2) == (name, _operations(s2, name))


def _traffic(cost: Cost) -> tuple[int, int, int]:
    return cost.sent, cost.received, cost.messages


def _seen(traffic: Traffic) -> tuple[int, int, int]:
    return traffic.sent, traffic.received, traffic.messages


def _operations(meter: Meter, name: str) -> Tally:
    return meter.functions[name].operations if name in meter.functions else Tally()


def compare(
    model: QuantisedModel, engine: str, pictures: int = 1, label_only: bool = False, key_bits: int = 512
) -> None:
    clouds = CountedClouds(model, secret_key(key_bits), (engine,))
    made = import_cost(model.plan, clouds.params, engine)
    assert _traffic(made) == _seen(clouds.counted[0].total())
    assert (made.s1, made.s2) == clouds.imported
    batch = np.stack([random_image(model.plan, seed) for seed in range(pictures)])
    costs = estimate(model.plan, clouds.params, engine, pictures=pictures, label_only=label_only)
    agree(costs, clouds.classify(batch, engine, label_only))


def small_random(seed: int) -> QuantisedModel:
    """A random network of at most 300 products."""
    models = (random_model(1000 * seed + attempt) for attempt in range(1000))
    return next(m for m in models if sum(m.plan.products(node) for node in m.plan.linear_nodes) <= 300)


@pytest.mark.parametrize("seed", few_of(12, 6))
def test_packed_on_random_networks(seed: int) -> None:
    compare(random_model(seed), "packed", 1 + seed % 3, label_only=seed % 2 == 1)


@pytest.mark.parametrize("seed", few_of(6, 4))
def test_textbook_on_random_networks(seed: int) -> None:
    compare(small_random(seed), "textbook", label_only=seed % 2 == 1)


def test_packed_inception_at_another_size() -> None:
    compare(small_icnn_model(3), "packed", key_bits=768)


def test_a_model_for_both_engines() -> None:
    """One conversation, one commitment."""
    model = small_random(0)
    clouds = CountedClouds(model, secret_key(512), ("packed", "textbook"))
    packed, textbook = (import_cost(model.plan, clouds.params, engine) for engine in ("packed", "textbook"))
    traffic, commit = clouds.counted[0].total(), (COMMIT.sent, COMMIT.received, 2)
    whole = zip(_traffic(packed), _traffic(textbook), commit, strict=True)
    assert _seen(traffic) == tuple(first + second - once for first, second, once in whole)


def test_the_default_network_at_2048_bits() -> None:
    """Random integers in the published network's plan; label only."""
    plan, source = default_plan(), np.random.default_rng(0)
    weights = {node.name: source.integers(-128, 128, plan.weight_shape(node)) for node in plan.linear_nodes}
    biases = {node.name: source.integers(-999, 999, plan.weight_shape(node)[0]) for node in plan.linear_nodes}
    compare(QuantisedModel(plan, weights, biases), "packed", label_only=True, key_bits=2048)


def test_a_wrong_plan_does_not_agree() -> None:
    model, other = random_model(0), random_model(1)
    clouds = Clouds(model, secret_key(512))
    answered = clouds.classify(random_image(model.plan, 0)[None])
    agree(estimate(model.plan, clouds.params), answered)
    with pytest.raises(AssertionError):
        agree(estimate(other.plan, clouds.params), answered)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 1 << 21])
def test_sizes_on_the_wire(length: int) -> None:
    made = pb.Round(masked_sums=pb.MaskedSums(ciphertexts=bytes(length)))
    assert round_bytes("masked_sums", ciphertexts=length) == made.ByteSize()
    spend = pb.Spend(
        protocol_version=length,
        bind=pb.Bind(query_id=bytes(length % 300), label_only=bool(length)),
        items=[pb.Spend.Item(session_id=bytes(3), number=number) for number in (0, length)],
    )
    sizes = round_bytes(
        "spend",
        protocol_version=length,
        bind={"query_id": length % 300, "label_only": int(bool(length))},
        items=[{"session_id": 3, "number": number} for number in (0, length)],
    )
    assert sizes == pb.Round(spend=spend).ByteSize()
    with pytest.raises(KeyError):
        round_bytes("masked_sums", labels=length)
