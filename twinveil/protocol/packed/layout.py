"""How the packed engine lays values into plaintexts, from public data alone.

Both clouds compute the same layout from the plan, the key size and sigma; neither takes a width from
anybody. For a layer with `taps` products a sum and accumulators modulo 2^L there are two kinds of sums:

online   Z = sum x2 * K1,    0 <= Z < taps * 2^2L           slots are output positions
ahead    Z = sum x1 * K + b, |Z| < taps * 2^(L+w-1) + 2^L   slots are output channels (of `group` positions)

Each slot is masked by s uniform in [offset, offset + 2^m), m = bits(Z) + sigma + ceil(log2(slots masked in a
query)), so that Z + s never borrows from and never carries into a neighbour; slots are whole bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadPlan
from twinveil.network.plan import Conv, Linear, Plan, Shape
from twinveil.network.schedule import LinearStep, Schedule, schedule
from twinveil.params import MAX_PICTURES
from twinveil.protocol.shares import windows
from twinveil.ring import Words, modulo
from twinveil.rounds.observer import Masking

MIN_COUNT_BITS = 12


@dataclass(frozen=True, slots=True)
class Slots:
    """Slots of one kind of sum: `count` of `bytes` bytes, each masked by `mask_bits` bits above `offset`."""

    bytes: int
    count: int
    mask_bits: int
    offset: int

    @property
    def masking(self) -> Masking:
        return Masking(self.mask_bits, self.offset, self.count, self.bytes)


def _slots(sum_bits: int, negative: bool, margin: int, plaintext_bits: int, what: str) -> Slots:
    """sum_bits: Z < 2^sum_bits, or |Z| < 2^sum_bits where `negative`."""
    mask_bits = sum_bits + int(negative) + margin
    offset = 1 << sum_bits if negative else 0
    width = -(-(mask_bits + 1) // 8)
    count = plaintext_bits // (8 * width)
    if count < 1:
        raise BadPlan(f"layer {what}: one masked sum of {mask_bits} bits does not fit into the key")
    return Slots(width, count, mask_bits, offset)


@dataclass(frozen=True)
class LayerLayout:
    """One linear layer: `pictures` pictures at once.

    out, taps, positions: sizes of the matrix product (out x taps) * (taps x positions).
    """

    node: Linear
    in_shape: Shape
    out_shape: Shape
    pictures: int
    online: Slots
    ahead: Slots

    @property
    def bits(self) -> int:
        return self.node.accumulator_bits

    @property
    def out(self) -> int:
        return self.out_shape[0]

    @property
    def positions(self) -> int:
        return self.pictures * self.out_shape[1] * self.out_shape[2]

    # Online: positions in slots. `blocks` plaintexts hold all positions of one tap.

    @property
    def blocks(self) -> int:
        return -(-self.positions // self.online.count)

    @property
    def folded(self) -> int:
        """Output channels that share a ciphertext, when all positions leave room for several."""
        return self.online.count // self.positions if self.blocks == 1 else 1

    @property
    def online_sums(self) -> int:
        """Ciphertexts of online sums."""
        return self.blocks * -(-self.out // self.folded)

    @cached_property
    def tap_blocks(self) -> npt.NDArray[np.bool_]:
        """(taps, blocks): where a plaintext of S2's shares is not all padding, so that it exists at all."""
        ones = np.ones((self.in_shape[0], self.pictures, *self.in_shape[1:]), np.uint64)
        real = self.in_blocks(windows(ones, self.node))
        return np.asarray(real.any(axis=2))

    def in_blocks(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """(rows, positions) -> (rows, blocks, slots), zeros behind the last position."""
        padded = np.zeros((values.shape[0], self.blocks * self.online.count), np.uint64)
        padded[:, : self.positions] = values
        return padded.reshape(values.shape[0], self.blocks, self.online.count)

    def from_online(self, slots: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Slots of all online sums (online_sums, slots) -> (out, positions)."""
        if self.folded > 1:
            used = slots[:, : self.folded * self.positions]
            return used.reshape(-1, self.positions)[: self.out]
        return slots.reshape(self.out, -1)[:, : self.positions]

    # Ahead: output channels in slots, for `group` neighbouring positions of a row.

    @property
    def group(self) -> int:
        """Positions of one row whose channels share a ciphertext."""
        return max(1, min(self.ahead.count // self.out, self.out_shape[2]))

    @property
    def row_groups(self) -> int:
        return -(-self.out_shape[2] // self.group)

    @property
    def channel_chunks(self) -> int:
        """Ciphertexts that hold the channels of one position, where one is not enough."""
        return -(-self.out // self.ahead.count)

    @property
    def span(self) -> int:
        """Input columns that a group reads."""
        match self.node:
            case Conv():
                return self.node.kernel[1] + (self.group - 1) * self.node.stride
            case _:
                return 1

    @property
    def groups(self) -> int:
        return self.pictures * self.out_shape[1] * self.row_groups

    @property
    def ahead_sums(self) -> int:
        """Ciphertexts of sums made ahead: (groups, channel chunks)."""
        return self.groups * self.channel_chunks

    @property
    def bases(self) -> int:
        """Weights of all sorts that one slot is multiplied by: kernel rows x span x channels."""
        match self.node:
            case Conv():
                return self.in_shape[0] * self.node.kernel[0] * self.span
            case _:
                return int(np.prod(self.in_shape))

    @property
    def kernel_size(self) -> int:
        """Slots of E(K), the empty ones counted."""
        return self.channel_chunks * self.ahead.count * self.bases

    @cached_property
    def kernel_slots(self) -> npt.NDArray[np.int64]:
        """(chunks, bases, slots): which weight (index into the flattened kernel) sits where; -1 is none.

        Bases are ordered (kernel row, column of the span, channel) like `ahead_columns`, so that bases that
        meet padding together stand together.
        """
        match self.node:
            case Conv():
                channels, (rows, columns), stride = self.in_shape[0], self.node.kernel, self.node.stride
            case _:
                channels, (rows, columns), stride = int(np.prod(self.in_shape)), (1, 1), 1
        index = np.full((self.group, self.out, channels, rows, self.span), -1, np.int64)
        flat = np.arange(self.out * channels * rows * columns).reshape(self.out, channels, rows, columns)
        for place in range(self.group):
            start = place * stride
            index[place, :, :, :, start : start + columns] = flat
        by_slot = index.transpose(0, 1, 3, 4, 2).reshape(self.group * self.out, -1)
        return self._chunked(by_slot).transpose(0, 2, 1)

    @cached_property
    def bias_slots(self) -> npt.NDArray[np.int64]:
        """(chunks, slots): which channel's bias sits where; -1 is none."""
        by_slot = np.tile(np.arange(self.out), self.group)[:, None]
        return self._chunked(by_slot)[:, :, 0]

    def _chunked(self, by_slot: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(used slots, k) -> (chunks, slots, k), -1 behind the last."""
        padded = np.full((self.channel_chunks * self.ahead.count, by_slot.shape[1]), -1, np.int64)
        padded[: by_slot.shape[0]] = by_slot
        return padded.reshape(self.channel_chunks, self.ahead.count, -1)

    def ahead_columns(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """S1's shares as exponents: (channels, pictures, height, width) -> (bases, groups)."""
        channels, pictures, height, width = x.shape
        match self.node:
            case Conv():
                pad, stride, (rows, _) = self.node.padding, self.node.stride, self.node.kernel
                needed = (self.row_groups - 1) * self.group * stride + self.span
                padded = np.zeros(
                    (channels, pictures, height + 2 * pad, max(needed, width + 2 * pad)), x.dtype
                )
                padded[:, :, pad : pad + height, pad : pad + width] = x
                view = np.lib.stride_tricks.sliding_window_view(padded, (rows, self.span), axis=(2, 3))
                view = view[:, :, ::stride, :: stride * self.group]
                view = view[:, :, : self.out_shape[1], : self.row_groups]
                return view.transpose(4, 5, 0, 1, 2, 3).reshape(-1, self.groups)
            case _:
                return windows(x, self.node)

    def from_ahead(self, slots: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Slots of all sums made ahead (ahead_sums, slots) -> (out, positions)."""
        rows, width = self.out_shape[1], self.out_shape[2]
        joined = slots.reshape(self.groups, -1)[:, : self.group * self.out]
        placed = joined.reshape(self.pictures, rows, self.row_groups, self.group, self.out)
        columns = placed.reshape(self.pictures, rows, self.row_groups * self.group, self.out)[:, :, :width]
        return columns.transpose(3, 0, 1, 2).reshape(self.out, self.positions)


@dataclass(frozen=True)
class PackedLayout:
    """Every layer's layout for one key size, sigma and number of pictures."""

    plan: Plan
    key_bits: int
    sigma: int
    pictures: int = 1

    @cached_property
    def schedule(self) -> Schedule:
        return schedule(self.plan)

    @cached_property
    def count_bits(self) -> int:
        """ceil(log2(slots masked in a largest query)): the smallest width that covers what it leads to."""
        largest, bits = replace(self, pictures=MAX_PICTURES), MIN_COUNT_BITS
        while _masked_slots(largest._layers(bits)) > 1 << bits:
            bits += 1
        return bits

    @cached_property
    def layers(self) -> dict[str, LayerLayout]:
        return self._layers(self.count_bits)

    def step(self, step: LinearStep) -> LayerLayout:
        return self.layers[step.node.name]

    def _layers(self, count_bits: int) -> dict[str, LayerLayout]:
        margin, room = self.sigma + count_bits, self.key_bits - 1
        made = {}
        for node in self.plan.linear_nodes:
            taps = (self.plan.taps(node) - 1).bit_length()
            width = node.accumulator_bits
            made[node.name] = LayerLayout(
                node,
                self.plan.shapes[node.source],
                self.plan.shapes[node.name],
                self.pictures,
                online=_slots(2 * width + taps, False, margin, room, node.name),
                # One bit more than taps * 2^(L+w-1), for the bias.
                ahead=_slots(width + node.weight_bits + taps, True, margin, room, node.name),
            )
        return made


def _masked_slots(layers: dict[str, LayerLayout]) -> int:
    return sum(
        layer.online_sums * layer.online.count + layer.ahead_sums * layer.ahead.count
        for layer in layers.values()
    )


def layer_input(step: LinearStep, shares: Mapping[str, Words]) -> Words:
    """A cloud's shares of what a layer reads: pieces joined along the channels, modulo the layer's 2^L."""
    joined = np.concatenate([shares[name] for name in step.inputs])
    return modulo(joined, step.node.accumulator_bits)
