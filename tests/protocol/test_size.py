"""What is too large is refused before anything of it is made; what is large and runs is not."""

from __future__ import annotations

from math import prod

import pytest

from tests.crypto.crypto_keys import toy
from tests.networks import random_model, small_icnn_model
from tests.protocol.packed.default import default_plan
from together.bench import networks
from twinveil.errors import BadPlan, TooMuch
from twinveil.network.plan import IMAGE, Conv, Dense, MaxPool, Node, Plan, Relu
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.size import import_size, item_size, query_size, refuse_unrunnable
from twinveil.protocol.textbook.steps import TextbookLayout

SMALL = toy(512)


def wide(side: int) -> Plan:
    """One valid network: few weights, a ReLU of 31 bits on every pixel."""
    return Plan(
        (1, side, side),
        8,
        (
            Conv("every", "image", 1, (1, 1), 1, 0, 3, 31),
            Relu("relu", "every", 0, 8),
            Conv("few", "relu", 1, (15, 15), 15, 0, 3, 31),
            Relu("left", "few", 0, 8),
            Dense("dense", "left", 2, 3, 31),
        ),
        0,
    )


def pooled(side: int) -> Plan:
    """One channel that pools keep in one part."""
    convolution = Conv("every", IMAGE, 1, (1, 1), 1, 0, 3, 31)
    nodes = (convolution, Relu("relu", "every", 0, 8), MaxPool("pool", "relu", 2, 2, 0))
    return Plan((1, side, side), 8, (*nodes, Dense("dense", "pool", 2, 3, 31)), 0)


def sparse() -> Plan:
    """A dense layer of a million weights for two classes: nearly all slots of E(K2) would be empty."""
    return Plan((1, 700, 700), 8, (Dense("dense", IMAGE, 2, 8, 24),), 8)


def layered(shape: tuple[int, int, int], convolutions: list[tuple[int, int, int]], classes: int) -> Plan:
    """Convolutions (channels, kernel, stride) and a dense layer."""
    nodes: list[Node] = []
    source = IMAGE
    for index, (channels, kernel, stride) in enumerate(convolutions):
        nodes.append(Conv(f"conv{index}", source, channels, (kernel, kernel), stride, kernel // 2, 8, 24))
        nodes.append(Relu(source := f"relu{index}", f"conv{index}", 15, 8))
    return Plan(shape, 8, (*nodes, Dense("dense", source, classes, 8, 24)), 8)


MILLION = {
    "convolutions": layered((64, 8, 8), [(64, 3, 1), (128, 3, 1), (128, 3, 1), (256, 3, 2), (256, 1, 1)], 64),
    "wide kernels": layered((32, 8, 8), [(32, 15, 1)] * 4, 10),
    "one layer": layered((1, 32, 32), [], 1000),
    "few classes": layered((26, 64, 60), [], 10),
}


def weights(plan: Plan) -> int:
    return sum(prod(plan.weight_shape(node)) for node in plan.linear_nodes)


@pytest.mark.parametrize("key_bits", [2048, 3072])
@pytest.mark.parametrize("name", MILLION)
def test_a_million_weights_are_no_reason_to_refuse(name: str, key_bits: int) -> None:
    plan, params = MILLION[name], Params(key_bits)
    assert 650_000 <= weights(plan) <= 1 << 20
    refuse_unrunnable(plan, params, ("packed",))
    size = import_size(plan, params, "packed")
    assert size.tables <= 256 << 20
    assert max(size.sent, size.received) <= (30 if name == "convolutions" else 100) * weights(plan)


@pytest.mark.parametrize(("key_bits", "most"), [(2048, 200), (3072, 250)])
def test_bytes_a_weight_of_the_default_network(key_bits: int, most: int) -> None:
    size = import_size(default_plan(), Params(key_bits), "packed")
    assert max(size.sent, size.received) <= most * weights(default_plan())


@pytest.mark.parametrize("key_bits", [2048, 3072])
def test_items_of_the_default_network_lie_in_little_memory(key_bits: int) -> None:
    size = item_size(default_plan(), Params(key_bits))
    assert size.memory_s1 <= 4 << 20
    assert size.memory_s2 <= 25 << 20
    assert size.sent + size.received <= 22e6


@pytest.mark.parametrize("engine", ["packed", "textbook"])
@pytest.mark.parametrize("seed", range(3))
def test_a_query_of_a_label_is_the_largest(seed: int, engine: str) -> None:
    """One answer for both kinds: a cloud does not know yet which a user will want."""
    model = random_model(seed, max_side=5, max_layers=2)
    if TextbookLayout(model.plan, SMALL, limit=None).products > 8000:
        pytest.skip("too large for the textbook engine")
    size = query_size(model.plan, SMALL, engine)
    assert size.fault is None
    assert max(size.sent, size.received) >= size.longest
    assert size.sent + size.received > 0


@pytest.mark.parametrize(
    ("side", "what"), [(300, "what is made ahead of a picture"), (590, "a query of one picture")]
)
def test_a_network_of_which_no_picture_comes_to_its_end_is_refused(side: int, what: str) -> None:
    with pytest.raises(BadPlan, match=what + r" has a message of [0-9,]+ MiB, 128 are the most"):
        refuse_unrunnable(pooled(side), Params(), ("packed",))


def test_a_smaller_one_runs() -> None:
    refuse_unrunnable(wide(30), Params(), ("packed", "textbook"))


def test_a_network_without_a_layout_is_refused() -> None:
    with pytest.raises(BadPlan, match=r"kernels take [0-9,]+ slots, 8,388,608 are the most"):
        refuse_unrunnable(sparse(), Params(), ("packed",))
    with pytest.raises(BadPlan, match="products: the textbook engine runs up to 8,192"):
        refuse_unrunnable(wide(280), Params(), ("textbook",))


def test_an_import_has_its_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan within a network's limits comes there by its weights alone."""
    plan = layered((16, 4, 4), [], 400)
    refuse_unrunnable(plan, Params(), ("packed",))
    import_size.cache_clear()
    longest = import_size(plan, Params(), "packed").longest
    assert longest > max(item_size(plan, Params()).longest, query_size(plan, Params(), "packed").longest)
    import_size.cache_clear()
    monkeypatch.setattr("twinveil.protocol.size.MESSAGE_BYTES", longest - 1)
    with pytest.raises(BadPlan, match="its import has a message of"):
        refuse_unrunnable(plan, Params(), ("packed",))
    import_size.cache_clear()


def test_the_default_network_keeps_its_largest_query() -> None:
    one, most = (query_size(default_plan(), Params(), "packed", count) for count in (1, MAX_PICTURES))
    assert one.fault is most.fault is None
    assert one.memory >> 20 == 3
    assert most.memory >> 20 == 33  # as docs/kits.md says


@pytest.mark.parametrize(("side", "fault"), [(240, "2,097,152 values")])
def test_too_many_pictures_in_one_query_are_refused(side: int, fault: str) -> None:
    assert query_size(wide(side), SMALL, "packed", 1).fault is None
    found = query_size(wide(side), SMALL, "packed", MAX_PICTURES).fault
    assert found is not None
    assert fault in found


def test_a_query_of_a_large_network_is_refused_by_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_icnn_model(1).plan
    longest = query_size(plan, SMALL, "packed", 3).longest
    query_size.cache_clear()
    monkeypatch.setattr("twinveil.protocol.size.MESSAGE_BYTES", longest)
    assert query_size(plan, SMALL, "packed", 3).fault is None
    assert "a message of" in str(query_size(plan, SMALL, "packed", 4).fault)
    query_size.cache_clear()


def test_no_import_of_too_many_plaintexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.halves.ring.COUNT_BITS", 4)
    import_size.cache_clear()
    with pytest.raises(TooMuch, match="more than 16 plaintexts of weights"):
        import_size(layered((8, 4, 4), [], 40), SMALL, "packed")


def minionn() -> Plan:
    """MiniONN's network for CIFAR-10: seven convolutions, a layer of 65,536 activations twice."""
    shapes = [(64, 3, False), (64, 3, True), (64, 3, False), (64, 3, True), (64, 3, False), (64, 1, False)]
    nodes: list[Node] = []
    source = IMAGE
    for index, (channels, kernel, pool) in enumerate([*shapes, (16, 1, False)]):
        nodes.append(Conv(f"conv{index}", source, channels, (kernel, kernel), 1, kernel // 2, 8, 24))
        nodes.append(Relu(source := f"relu{index}", f"conv{index}", 15, 8))
        if pool:
            nodes.append(MaxPool(source := f"pool{index}", f"relu{index}", 2, 2, 0))
    return Plan((3, 32, 32), 8, (*nodes, Dense("dense", source, 10, 8, 24)), 8)


LARGE = {
    "MiniONN's for CIFAR-10": (minionn(), 400 << 20),
    "colour pictures of 224 x 224": (networks.default_plan(224, 3), 1400 << 20),
}


@pytest.mark.parametrize("key_bits", [2048, 3072])
@pytest.mark.parametrize("name", LARGE)
def test_large_layers_are_no_reason_to_refuse(name: str, key_bits: int) -> None:
    """Messages and working memory do not follow them; what lies ready does, and is said."""
    (plan, most), params = LARGE[name], Params(key_bits)
    refuse_unrunnable(plan, params, ("packed",))
    item, query = item_size(plan, params), query_size(plan, params, "packed")
    assert max(item.longest, query.longest) <= 36 << 20
    assert max(item.working, query.memory) <= 256 << 20
    assert most / 2 < item.memory_s1 + item.memory_s2 < 1.1 * most
    assert item.sent > 8 * item.longest
