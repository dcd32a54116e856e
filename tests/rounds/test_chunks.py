"""Chunks: exact round trips, and every malformed run of chunks refused with its own error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinveil.errors import InvalidMessage, OutOfOrder, TooMuch, TwinveilError
from twinveil.rounds.chunks import CHUNK_BYTES, Assembler, cut
from twinveil.rpc.rounds_pb2 import Bind, Chunk, Round

FULL = bytes(CHUNK_BYTES)


def message(size: int) -> bytes:
    return Round(bind=Bind(binding=bytes(size))).SerializeToString()


@given(st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=3))
def test_round_trip(sizes: list[int]) -> None:
    assembler = Assembler()
    for sequence, size in enumerate(sizes):
        *early, last = [assembler.add(chunk) for chunk in cut(message(size), sequence)]
        assert all(nothing is None for nothing in early)
        assert last is not None
        assert len(last.bind.binding) == size


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([Chunk(sequence=1, data=message(1), last=True)], OutOfOrder),
        ([Chunk(part=1, data=message(1), last=True)], OutOfOrder),
        ([Chunk(data=FULL), Chunk(part=2, data=FULL)], OutOfOrder),
        ([Chunk(data=FULL), Chunk(data=FULL)], OutOfOrder),
        ([Chunk(data=FULL), Chunk(sequence=1, data=FULL)], OutOfOrder),
        ([Chunk(data=message(1), last=True)] * 2, OutOfOrder),
        ([Chunk(data=FULL + b"x", last=True)], TooMuch),
        ([Chunk(part=part, data=FULL) for part in range(3)], TooMuch),
        ([Chunk()], InvalidMessage),
        ([Chunk(data=FULL[:-1])], InvalidMessage),
        ([Chunk(last=True)], InvalidMessage),
        ([Chunk(data=b"\xff\xff", last=True)], InvalidMessage),
        ([Chunk(data=b"\xfa\x3f\x00", last=True)], InvalidMessage),
    ],
)
def test_malformed_runs(chunks: list[Chunk], error: type[TwinveilError]) -> None:
    assembler = Assembler(2 * CHUNK_BYTES)
    with pytest.raises(error):
        for chunk in chunks:
            assembler.add(chunk)


def test_a_conversation_goes_on_whatever_it_has_carried() -> None:
    """Items are made in one all day: 1.5 GiB here."""
    assembler, full = Assembler(), Chunk(data=message(CHUNK_BYTES - 9), last=True)
    for sequence in range(1536):
        full.sequence = sequence
        assert assembler.add(full) is not None


small = st.integers(0, 2)
any_chunk = st.builds(Chunk, sequence=small, part=small, data=st.binary(max_size=40), last=st.booleans())


@given(st.lists(any_chunk))
def test_anything_else_is_a_typed_error(chunks: list[Chunk]) -> None:
    assembler = Assembler()
    try:
        for chunk in chunks:
            assembler.add(chunk)
    except TwinveilError:
        pass
