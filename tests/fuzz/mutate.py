"""Mutations that keep structure: of bytes, of JSON and TOML values, of protobuf messages."""

from __future__ import annotations

import base64
import json
import random
import re
import tomllib
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    255,
    256,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63,
    2**64,
    -(2**31),
    10**30,
)
TEXTS = ("", " ", "\0", "../../x", "a" * 5000, "é", "NaN", "0", "-1", "conv", "image", "\ud7ff", "[", "'; --")
ODD: tuple[Any, ...] = (None, True, False, 0.5, float("inf"), float("nan"), [], {}, [[]], [None], {"": 0})


def of_bytes(data: bytes, source: random.Random) -> bytes:
    """One to four small changes."""
    for _ in range(source.randint(1, 4)):
        data = _once(data, source)
    return data


def _once(data: bytes, source: random.Random) -> bytes:
    at, size = source.randint(0, len(data)), source.choice((1, 2, 4, 8, 16, 64))
    match source.randrange(8):
        case 0 if data:
            place = source.randrange(len(data))
            return data[:place] + bytes([data[place] ^ 1 << source.randrange(8)]) + data[place + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + source.randbytes(size) + data[at:]
        case 3:
            return data[:at] + data[at + size :]
        case 4:
            return data[:at] + bytes([source.choice((0, 255, 128, 127))]) * size + data[at + size :]
        case 5:
            return data[:at] + data[at : at + size] * source.randint(2, 20) + data[at + size :]
        case 6:
            other = source.randint(0, len(data))
            return data[min(at, other) : max(at, other)]
        case _:
            return source.randbytes(source.choice((0, 1, 16, 64, 300)))


def of_value(value: Any, source: random.Random) -> Any:
    """A JSON value with one place changed, somewhere in it."""
    if isinstance(value, dict) and value and source.random() < 0.8:
        changed = dict(value)
        key = source.choice(sorted(changed, key=str))
        match source.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[source.choice(TEXTS)] = changed[key]
            case _:
                changed[key] = of_value(changed[key], source)
        return changed
    if isinstance(value, list) and value and source.random() < 0.8:
        changed = list(value)
        at = source.randrange(len(changed))
        match source.randrange(8):
            case 0:
                del changed[at]
            case 1:
                changed.insert(at, changed[at])
            case 2:
                changed = changed * source.randint(0, 3)
            case _:
                changed[at] = of_value(changed[at], source)
        return changed
    if isinstance(value, str) and source.random() < 0.5:
        return of_bytes(value.encode(errors="replace"), source).decode(errors="replace")
    if isinstance(value, int) and not isinstance(value, bool) and source.random() < 0.5:
        return value + source.choice((-1, 1, 2, 16, -16))
    return source.choice((*NUMBERS, *TEXTS, *ODD))


def of_message(message: M, source: random.Random) -> M:
    """A copy with one field changed, somewhere in it."""
    changed = type(message)()
    changed.CopyFrom(message)
    _change(changed, source)
    return changed


def _change(message: Message, source: random.Random) -> None:
    set_fields = [each for each, _ in message.ListFields()]
    every = list(message.DESCRIPTOR.fields)
    if not every:
        return
    each = source.choice(set_fields if set_fields and source.random() < 0.85 else every)
    if each.is_repeated:
        part = getattr(message, each.name)
        if len(part) and source.random() < 0.5:
            del part[source.randrange(len(part))]
        elif each.type == FieldDescriptor.TYPE_STRING:
            part.extend([source.choice(TEXTS)] * source.choice((1, 2, 100)))
        else:
            part.extend(list(part)[:1])
        return
    match each.type:
        case FieldDescriptor.TYPE_MESSAGE:
            _change(getattr(message, each.name), source)
        case FieldDescriptor.TYPE_BYTES:
            setattr(message, each.name, of_bytes(getattr(message, each.name), source))
        case FieldDescriptor.TYPE_STRING:
            text = of_bytes(getattr(message, each.name).encode(), source).decode(errors="replace")
            setattr(message, each.name, source.choice((text, *TEXTS)))
        case FieldDescriptor.TYPE_BOOL:
            setattr(message, each.name, not getattr(message, each.name))
        case FieldDescriptor.TYPE_DOUBLE:
            setattr(message, each.name, source.choice((0.0, -1.0, 1e300, float("inf"), float("nan"))))
        case _:
            top = {FieldDescriptor.TYPE_UINT32: 2**32 - 1, FieldDescriptor.TYPE_UINT64: 2**64 - 1}
            setattr(message, each.name, max(0, min(top.get(each.type, 2**31 - 1), source.choice(NUMBERS))))


def of_file(suffix: str, data: bytes, source: random.Random) -> bytes:
    """A file's content, changed where its format has something to say, else anywhere."""
    kind = source.random()
    if suffix in (".json", ".toml") and kind < 0.1:
        return _token(data, source)
    if suffix == ".json" and kind < 0.6:
        return json.dumps(of_value(json.loads(data), source)).encode(errors="replace")
    if suffix == ".toml" and kind < 0.6:
        return _toml(of_value(tomllib.loads(data.decode()), source)).encode(errors="replace")
    if suffix == ".pem" and kind < 0.6:
        return _PEM.sub(lambda found: base64.encodebytes(of_bytes(base64.b64decode(found[0]), source)), data)
    if suffix == ".safetensors" and kind < 0.6:
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(of_value(json.loads(data[8 : 8 + length]), source)).encode(errors="replace")
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return of_bytes(data, source)


_PEM = re.compile(rb"(?<=-----\n)[A-Za-z0-9+/=\n]+(?=-----END)")
_TOKEN = re.compile(rb'-?[0-9][0-9.]*|"[^"\n]*"|true|false|null')
DEEP = (
    b"[" * 3000,
    b"[" * 200 + b"]" * 200,
    b'{"a":' * 3000,
    b"a." * 2000 + b"a=1",
    b"9" * 5000,
    b'"' + b"9" * 5000 + b'"',
)
"""Too deep for a parser, or too long for a number."""


def _token(data: bytes, source: random.Random) -> bytes:
    """One value replaced by what parsers choke on."""
    found = source.choice([*_TOKEN.finditer(data)])
    return data[: found.start()] + source.choice(DEEP) + data[found.end() :]


def _toml(value: Any) -> str:
    """TOML of a value that was read from TOML, or nearly so."""
    if not isinstance(value, dict):
        return json.dumps(value)
    plain = {name: each for name, each in value.items() if not isinstance(each, dict)}
    lines = [f"{json.dumps(name)} = {json.dumps(each)}" for name, each in plain.items()]
    for name, table in value.items():
        if isinstance(table, dict):
            inner = {key: each for key, each in table.items() if not isinstance(each, dict)}
            lines += [f"[{json.dumps(name)}]", _toml(inner)]
            for key, each in table.items():
                if isinstance(each, dict):
                    lines += [f"[{json.dumps(name)}.{json.dumps(key)}]", _toml(each)]
    return "\n".join(lines)


def of_call(messages: Sequence[Message], source: random.Random) -> list[bytes]:
    """What a caller sends in place of these messages: one changed as a message or bytes, gone, or twice."""
    sent = [each.SerializeToString() for each in messages]
    at = source.randrange(len(sent))
    if source.random() < 0.05:
        return sent
    if len(sent) > 1 and source.random() < 0.1:
        sent[at : at + 1] = [sent[at]] * source.choice((0, 2))
    elif source.random() < 0.2:
        sent[at] = of_bytes(sent[at], source)
    else:
        sent[at] = of_message(messages[at], source).SerializeToString()
    return sent


def void(_: object) -> None:
    """Takes what a parser returned: a target only must not crash."""
