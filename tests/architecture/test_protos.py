"""The services as generated: the table knows each RPC, and every field has a comment or a telling name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from twinveil.transport.authorisation import TABLE

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos" / "twinveil" / "rpc").glob("*.proto"))


def test_the_table_and_the_services_are_the_same_set() -> None:
    methods = set()
    for proto in PROTOS:
        module = importlib.import_module(f"twinveil.rpc.{proto.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            methods |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert methods == {method for method in TABLE if method.startswith("/twinveil.")}


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_every_proto_says_who_speaks_to_whom(proto: Path) -> None:
    text = proto.read_text()
    assert text.startswith("// ")
    assert re.search(r"^package twinveil\.rpc;$", text, re.MULTILINE)


def test_nobody_removed_a_streaming_cap() -> None:
    from twinveil.rounds.chunks import CHUNK_BYTES
    from twinveil.transport.channel import MAX_MESSAGE_BYTES

    assert CHUNK_BYTES == 1 << 20
    assert CHUNK_BYTES < MAX_MESSAGE_BYTES <= 4 << 20
