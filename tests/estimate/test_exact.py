"""What `estimate` says is what the clouds measure: bytes, messages and operations, to the last one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.crypto.crypto_keys import secret_key, toy
from tests.networks import few_of, random_model, small_icnn_model
from tests.protocol.test_engines import images, small_random
from twinveil.crypto.multiexp_fixed import FIXED_GROUP
from twinveil.crypto.multiexp_schedule import Tables
from twinveil.crypto.tally import MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2, Tally
from twinveil.estimate.bounds import bounds
from twinveil.estimate.cost import Costs, total
from twinveil.estimate.query import estimate
from twinveil.estimate.wire import round_bytes
from twinveil.network.plan import Plan, QuantisedModel
from twinveil.parallel import INLINE, Workers
from twinveil.params import Params
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.rehearsal.clouds import Answered, Clouds
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Workers]:
    with Workers.processes(2) as workers:
        yield workers


def agree(costs: Costs, answered: Answered) -> None:
    """Function by function, at both clouds."""
    s1, s2 = answered.meter_s1, answered.meter_s2
    assert s1.peer is not None
    assert set(costs) == set(s1.functions)
    assert set(s2.functions) <= set(costs)
    for name, cost in costs.items():
        traffic = s1.peer.by_label[name]
        found = (traffic.sent, traffic.received, traffic.messages)
        assert (name, cost.sent, cost.received, cost.messages) == (name, *found)
        assert (name, cost.s1) == (name, s1.functions[name].operations)
        at_s2 = s2.functions[name].operations if name in s2.functions else Tally()
        assert (name, cost.s2) == (name, at_s2)


def compare(
    model: QuantisedModel,
    engine: str = "packed",
    pictures: int = 1,
    label_only: bool = False,
    workers: Workers | None = None,
    key_bits: int = 512,
) -> None:
    clouds = Clouds(model, secret_key(key_bits), (engine,), workers or INLINE)
    count = workers.count if workers else 1
    options = {"pictures": pictures, "workers": count, "label_only": label_only}
    costs = estimate(model.plan, clouds.params, engine, **options)
    for seed in (0, 1):
        batch = images(model, pictures, seed)
        agree(costs, clouds.classify(batch, engine, label_only))


@pytest.mark.parametrize("seed", few_of(12, 6))
def test_packed_on_random_networks(seed: int) -> None:
    compare(random_model(seed), pictures=1 + seed % 3, label_only=seed % 2 == 1)


@pytest.mark.parametrize("seed", few_of(6, 4))
def test_textbook_on_random_networks(seed: int) -> None:
    compare(small_random(seed), "textbook", label_only=seed % 2 == 1)


def test_packed_inception_at_another_size() -> None:
    compare(small_icnn_model(3), key_bits=768)


def test_packed_on_two_workers(two_workers: Workers) -> None:
    compare(small_icnn_model(5), workers=two_workers)


def test_a_wrong_plan_does_not_agree() -> None:
    model, other = random_model(0), random_model(1)
    clouds = Clouds(model, secret_key(512))
    answered = clouds.classify(images(model, 1, 0))
    with pytest.raises(AssertionError):
        agree(estimate(other.plan, clouds.params), answered)


def test_tables_are_made_once_a_model() -> None:
    model = random_model(2)
    clouds = Clouds(model, secret_key(512))
    wanted = Tally()
    for layer in PackedLayout(model.plan, 512, 40).layers.values():
        chunks, bases, _ = layer.kernel_slots.shape
        for _ in range(chunks):
            wanted += Tables(min(FIXED_GROUP, bases), 1).table_counts(bases)
    for seed in (0, 1):
        clouds.classify(images(model, 1, seed))
        assert clouds.s1.tables.tally == wanted


@pytest.mark.heavy
def test_the_default_network_at_2048_bits() -> None:
    """One real query of the published network, in memory."""
    compare(default_model(), key_bits=2048)


def default_model() -> QuantisedModel:
    """The default ICNN with random integers in its plan."""
    from owner.training.icnn import ICNN
    from owner.training.tracing import trace

    plan: Plan = trace(ICNN((1, 28, 28), 10), (1, 28, 28)).plan
    source = np.random.default_rng(0)
    weights = {node.name: source.integers(-3, 4, plan.weight_shape(node)) for node in plan.linear_nodes}
    biases = {node.name: source.integers(-9, 9, plan.weight_shape(node)[0]) for node in plan.linear_nodes}
    return QuantisedModel(plan, weights, biases)


def test_the_default_network_before_anything_runs() -> None:
    model = default_model()
    costs = estimate(model.plan, Params(2048))
    assert total(costs).bytes < 90e6
    online = sum(cost.messages for name, cost in costs.items() if name != "ahead")
    assert online + 2 <= 40  # with the user's request and its answer


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 1 << 21])
def test_sizes_on_the_wire(length: int) -> None:
    made = pb.Round(masked_sums=pb.MaskedSums(ciphertexts=bytes(length)))
    assert round_bytes("masked_sums", ciphertexts=length) == made.ByteSize()
    opening = pb.OpenQuery(protocol_version=length, engine="e" * (length % 300), pictures=3)
    sizes = {"protocol_version": length, "engine": length % 300, "pictures": 3}
    assert round_bytes("open_query", **sizes) == pb.Round(open_query=opening).ByteSize()
    with pytest.raises(KeyError):
        round_bytes("masked_sums", labels=length)


@pytest.mark.parametrize("seed", range(6))
def test_bounds_count_what_is_performed(seed: int) -> None:
    model = random_model(seed)
    layout = PackedLayout(model.plan, 512, 40)
    found = {bound.what: bound for bound in bounds(layout)}
    sums = found["decryptions ahead"].ours + found["decryptions online"].ours
    performed = total(estimate(model.plan, toy(512))).s1
    products = found["multiplications ahead"].ours + found["multiplications online"].ours
    # The rest of S1's multiplications: masks, nonces, checks.
    assert products < sum(performed[kind] for kind in (MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2))
    assert sums == layout_sums(layout)
    assert all(bound.ratio >= 1 for name, bound in found.items() if name.startswith("decryptions"))


def layout_sums(layout: PackedLayout) -> int:
    return sum(layer.ahead_sums + layer.online_sums for layer in layout.layers.values())
