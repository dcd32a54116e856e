"""One torch layer at a time: what keeps it from being run, and its counterpart in a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from twinveil.network.fixed_point import accumulator_bits
from twinveil.network.plan import Conv, Dense, MaxPool, Shape

_MAX_WINDOW, _MAX_STRIDE, _MAX_CHANNELS, _MAX_CLASSES = 15, 15, 1024, 1000


def conv_faults(conv: nn.Conv2d, source: Shape | None) -> list[str]:
    """Everything that keeps `conv` from being run on an input of shape `source` (None: not known)."""
    faults = []
    if conv.groups != 1:
        faults.append(f"{conv.groups} groups; only one has a form here")
    if set(conv.dilation) != {1}:
        faults.append(f"dilation {_text(conv.dilation)}; only 1 can be run")
    if conv.padding_mode != "zeros":
        faults.append(f"padding mode {conv.padding_mode}; only zeros can be run")
    if isinstance(conv.padding, str):
        faults.append(f"padding {conv.padding!r} must be given as a number")
        padding: tuple[int, ...] = (0, 0)
    else:
        padding = tuple(conv.padding)
    faults += _square("stride", tuple(conv.stride)) + _square("padding", padding)
    faults += _window_faults(tuple(conv.kernel_size), tuple(conv.stride), padding, source)
    if conv.out_channels > _MAX_CHANNELS:
        faults.append(f"{conv.out_channels} channels, more than {_MAX_CHANNELS}")
    if source is not None and conv.in_channels != source[0]:
        faults.append(f"it wants {conv.in_channels} channels and gets {source[0]}")
    return faults


def norm_faults(norm: nn.BatchNorm2d) -> list[str]:
    if norm.running_mean is None or norm.running_var is None:
        return ["batch normalisation without running statistics cannot be folded"]
    return []


def pool_faults(pool: nn.MaxPool2d, source: Shape | None) -> list[str]:
    size, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    faults = _square("window", size) + _square("stride", stride) + _square("padding", padding)
    if set(_pair(pool.dilation)) != {1}:
        faults.append(f"dilation {_text(_pair(pool.dilation))}; only 1 can be run")
    if pool.ceil_mode:
        faults.append("ceil_mode; only whole windows can be run")
    if pool.return_indices:
        faults.append("return_indices; the place of a maximum stays secret")
    return faults + _window_faults(size, stride, padding, source)


def dense_faults(linear: nn.Linear, source: Shape | None) -> list[str]:
    faults = []
    if source is not None and linear.in_features != source[0] * source[1] * source[2]:
        faults.append(f"it wants {linear.in_features} features and gets {source[0] * source[1] * source[2]}")
    if not 2 <= linear.out_features <= _MAX_CLASSES:
        faults.append(f"{linear.out_features} classes; 2 to {_MAX_CLASSES} can be run")
    return faults


def conv_node(name: str, source: str, conv: nn.Conv2d, input_bits: int, weight_bits: int) -> Conv:
    """`conv` without faults, as a layer of a plan."""
    height, width = conv.kernel_size
    bits = accumulator_bits(conv.in_channels * height * width, input_bits, weight_bits)
    padding = int(conv.padding[0])
    return Conv(name, source, conv.out_channels, (height, width), conv.stride[0], padding, weight_bits, bits)


def pool_node(name: str, source: str, pool: nn.MaxPool2d) -> MaxPool:
    return MaxPool(name, source, _pair(pool.kernel_size)[0], _pair(pool.stride)[0], _pair(pool.padding)[0])


def dense_node(name: str, source: str, linear: nn.Linear, input_bits: int, weight_bits: int) -> Dense:
    bits = accumulator_bits(linear.in_features, input_bits, weight_bits)
    return Dense(name, source, linear.out_features, weight_bits, bits)


def pool_from_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.MaxPool2d:
    """The layer that a call of torch.nn.functional.max_pool2d stands for."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    options.pop("input", None)
    return nn.MaxPool2d(
        options["kernel_size"],
        options.get("stride"),
        options.get("padding", 0),
        options.get("dilation", 1),
        options.get("return_indices", False),
        options.get("ceil_mode", False),
    )


def _window_faults(
    window: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], source: Shape | None
) -> list[str]:
    faults = []
    if max(window) > _MAX_WINDOW:
        faults.append(f"window {_text(window)}; up to {_MAX_WINDOW} can be run")
    if max(stride) > _MAX_STRIDE:
        faults.append(f"stride {_text(stride)}; up to {_MAX_STRIDE} can be run")
    if any(edge >= side for edge, side in zip(padding, window, strict=True)):
        faults.append(f"padding {_text(padding)} is not smaller than the window {_text(window)}")
    if source is not None and any(
        size + 2 * edge < side for size, edge, side in zip(source[1:], padding, window, strict=True)
    ):
        faults.append(f"window {_text(window)} is larger than its input {_text(source[1:])}")
    return faults


def _square(what: str, sides: tuple[int, ...]) -> list[str]:
    return [] if len(set(sides)) == 1 else [f"{what} {_text(sides)}; both sides must be equal"]


def _pair(value: Any) -> tuple[int, int]:
    """torch takes one number or two."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def _text(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
