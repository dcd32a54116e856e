"""Sizes of serialised Rounds, from the lengths of their fields alone (protobuf's wire format)."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from twinveil.rpc.rounds_pb2 import Round

_LENGTHS = {FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING}


def round_bytes(body: str, **values: int) -> int:
    """Bytes of a Round whose body has the given fields.

    values: the length of a bytes or string field, the value of a number or bool; 0 is not sent, as ever in
    proto3. Raises KeyError for a body or field that the protocol does not have.
    """
    return _round_bytes(body, tuple(sorted(values.items())))


@lru_cache(maxsize=4096)
def _round_bytes(body: str, values: tuple[tuple[str, int], ...]) -> int:
    field = Round.DESCRIPTOR.fields_by_name[body]
    message = field.message_type
    if message is None:
        raise KeyError(body)
    inner = sum([_field_bytes(message, name, value) for name, value in values])
    return _tag_bytes(field) + varint_bytes(inner) + inner


def _field_bytes(message: Descriptor, name: str, value: int) -> int:
    field = message.fields_by_name[name]
    if not value:
        return 0
    content = value if field.type in _LENGTHS else 0
    return _tag_bytes(field) + varint_bytes(value) + content


def _tag_bytes(field: FieldDescriptor) -> int:
    return varint_bytes(field.number << 3)


def varint_bytes(value: int) -> int:
    """Bytes of a non-negative integer: seven bits in each."""
    return max(1, -(-value.bit_length() // 7))
