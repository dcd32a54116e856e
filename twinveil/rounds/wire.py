"""Sizes of serialised Rounds, from the lengths of their fields alone (protobuf's wire format)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor

from twinveil.rpc.rounds_pb2 import Round

Fields = Mapping[str, "Size"]
Size = int | Fields | Sequence[Fields]
"""Of a field: the length of bytes or a string; the value of a number or bool; the fields of a message, or of
each of several messages, by name."""

_LENGTHS = {FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING}


def round_bytes(body: str, **fields: Size) -> int:
    """Bytes of a Round whose body has the given fields. What is 0 is not sent, as ever in proto3.

    Raises KeyError for a body or field that the protocol does not have.
    """
    return _field_bytes(Round.DESCRIPTOR.fields_by_name[body], fields)


def _field_bytes(field: FieldDescriptor, size: Size) -> int:
    tag = varint_bytes(field.number << 3)
    if isinstance(size, int):
        content = size if field.type in _LENGTHS else 0
        return tag + varint_bytes(size) + content if size else 0
    made = 0
    for fields in [size] if isinstance(size, Mapping) else size:
        inner = _message_bytes(field, fields)
        made += tag + varint_bytes(inner) + inner
    return made


def _message_bytes(field: FieldDescriptor, fields: Fields) -> int:
    message = field.message_type
    if message is None:
        raise KeyError(field.name)
    return sum(_field_bytes(message.fields_by_name[name], size) for name, size in fields.items())


def varint_bytes(value: int) -> int:
    """Bytes of a non-negative integer: seven bits in each."""
    return max(1, -(-value.bit_length() // 7))
