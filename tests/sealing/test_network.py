"""Integer networks: layers agree with torch on exact integers, files are what they say or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch.nn import functional

from twinveil.errors import BadInput, BadPlan
from twinveil.sealing import synthetic
from twinveil.sealing.integers import VALUE_LIMIT
from twinveil.sealing.network import (
    LEAK_BITS,
    LEAK_NUMERATOR,
    MOST_TAPS,
    Affine,
    Conv,
    Deconv,
    Dense,
    Reshape,
    Scaling,
    activate,
    run,
)
from twinveil.sealing.network_files import load_network, make_network, parse_network, save_network

SOURCE = np.random.default_rng(3)


def scaling(outputs: int, shift: int = 0) -> Scaling:
    return Scaling(SOURCE.integers(-999, 1000, outputs), shift, "linear")


def exact(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).double()


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_convolutions_are_those_of_torch(size: int, stride: int) -> None:
    values = SOURCE.integers(-500, 500, (3, 8, 8))
    conv = Conv(SOURCE.integers(-50, 50, (4, 3, size, size)), scaling(4), stride)
    wanted = functional.conv2d(
        exact(values)[None], exact(conv.weight), exact(conv.scaling.bias), stride, size // 2
    )
    assert (conv.apply(values) == np.clip(wanted[0].numpy(), -VALUE_LIMIT, VALUE_LIMIT)).all()
    deconv = Deconv(SOURCE.integers(-50, 50, (3, 4, size, size)), scaling(4), stride)
    wanted = functional.conv_transpose2d(
        exact(values)[None],
        exact(deconv.weight),
        exact(deconv.scaling.bias),
        stride,
        size // 2,
        output_padding=stride - 1,
    )
    assert (deconv.apply(values) == np.clip(wanted[0].numpy(), -VALUE_LIMIT, VALUE_LIMIT)).all()


def test_a_sum_never_leaves_int64() -> None:
    weight = np.full((1, MOST_TAPS), -(1 << 15), dtype=np.int64)
    layer = Dense(weight, Scaling(np.array([-(1 << 31)]), 0, "linear"))
    assert layer.apply(np.full(MOST_TAPS, VALUE_LIMIT, dtype=np.int64)).tolist() == [-VALUE_LIMIT]
    assert MOST_TAPS * (1 << 15) * VALUE_LIMIT + (1 << 31) < 1 << 62


def test_activations() -> None:
    values = np.array([-1024, -1, 0, 1024])
    assert activate(values, "relu").tolist() == [0, 0, 0, 1024]
    assert activate(values, "leaky").tolist() == [-(1024 * LEAK_NUMERATOR >> LEAK_BITS), -1, 0, 1024]
    assert activate(values, "linear").tolist() == values.tolist()
    assert activate(values, "tanh").tolist() == pytest.approx([-780, -1, 0, 780], abs=6)


@pytest.mark.parametrize(
    "layer",
    [
        Dense(np.ones((1, 5), dtype=np.int64), scaling(1)),
        Affine(np.ones(5, dtype=np.int64), scaling(5)),
        Conv(np.ones((1, 2, 3, 3), dtype=np.int64), scaling(1), 1),
        Deconv(np.ones((2, 1, 3, 3), dtype=np.int64), scaling(1), 1),
        Reshape((7,)),
    ],
)
def test_inputs_of_another_shape_are_refused(layer) -> None:
    with pytest.raises(BadPlan, match="fit"):
        run([layer], np.zeros((1, 4, 4), dtype=np.int64))


def test_a_network_is_read_as_it_was_written(tmp_path: Path) -> None:
    network = synthetic.adversarial()
    save_network(tmp_path, network)
    again = load_network(tmp_path)
    assert again.digest == network.digest
    assert again.facts == network.facts
    values = SOURCE.integers(-1024, 1025, (16, 16))
    assert (run(again.parts["generator"], values) == run(network.parts["generator"], values)).all()


def test_a_folder_without_a_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=str(tmp_path)):
        load_network(tmp_path)


def changed(**changes: object) -> tuple[bytes, bytes]:
    """A network whose first layer says something else."""
    network = synthetic.recogniser()
    content = json.loads(network.json_bytes)
    layer = content["parts"]["features"][0]
    for name, value in changes.items():
        if name in content:
            content[name] = value
        else:
            layer[name] = value
    return json.dumps(content).encode(), network.tensor_bytes


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"fraction_bits": 9},
        {"side": 4},
        {"side": "wide"},
        {"parts": []},
        {"parts": {"features": 5}},
        {"op": "attention"},
        {"op": "dense"},
        {"op": "reshape", "shape": [1 << 40, 1 << 40]},
        {"op": "reshape", "shape": []},
        {"name": "absent"},
        {"shift": 60},
        {"shift": None},
        {"activation": "exec"},
        {"stride": 0},
        {"stride": 3},
        {"tensors": {}},
    ],
)
def test_a_file_that_lies_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadPlan):
        parse_network(*changed(**changes))


def test_tensors_of_another_network_or_kind_are_refused() -> None:
    network, other = synthetic.recogniser(), synthetic.recogniser("another")
    with pytest.raises(BadPlan, match="tensors"):
        parse_network(network.json_bytes, other.tensor_bytes)
    floats = {name: tensor.astype(np.float32) for name, tensor in load(network.tensor_bytes).items()}
    parts = json.loads(network.json_bytes)["parts"]
    with pytest.raises(BadPlan, match="int16"):
        make_network("recogniser", 16, parts, floats, {})
    even = {
        name: tensor[..., :2, :2] if tensor.ndim == 4 else tensor
        for name, tensor in load(network.tensor_bytes).items()
    }
    with pytest.raises(BadPlan, match="odd"):
        make_network("recogniser", 16, parts, even, {})


@pytest.mark.parametrize("garbage", [b"", b"{}", b"\xff" * 99, b"[" * 100_000])
def test_garbage_is_refused(garbage: bytes) -> None:
    network = synthetic.recogniser()
    with pytest.raises(BadPlan):
        parse_network(garbage, network.tensor_bytes)
    with pytest.raises(BadPlan):
        parse_network(network.json_bytes, garbage)


def test_one_changed_weight_is_another_network() -> None:
    network = synthetic.recogniser()
    tensors = load(network.tensor_bytes)
    tensors["conv.weight"] = tensors["conv.weight"].copy()
    tensors["conv.weight"][0, 0, 0, 0] ^= 1
    content = json.loads(network.json_bytes)
    assert make_network("recogniser", 16, content["parts"], tensors, network.facts).digest != network.digest
    with pytest.raises(BadPlan):
        parse_network(network.json_bytes, save(tensors))
