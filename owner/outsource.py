"""Secure outsourcing of a model: blinded halves to S1, blindings to S2, the import that they run."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from gmpy2 import mpz

from owner.clouds import Clouds
from twinveil.blinding import blind_values, offset_binary
from twinveil.errors import TwinveilError
from twinveil.halves import model_plaintexts, model_segments
from twinveil.net.chunks import CHUNK_BYTES
from twinveil.net.status import RpcError, from_rpc_error
from twinveil.params import Params
from twinveil.plan import QuantisedModel
from twinveil.protocol.query.size import refuse_unrunnable
from twinveil.rpc.provision_pb2 import ModelChunk, ModelHeader, OutsourceEvent
from twinveil.rpc.provision_pb2_grpc import ProvisionStub
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.version import PROTOCOL_VERSION

DEADLINE = 7200.0

Report = Callable[[int, int, str], None]
"""(layers done, layers, layer at work)"""


@dataclass(frozen=True, slots=True)
class Release:
    """Under which name a model goes out, for which engines, and what its users may ask."""

    name: str
    version: str
    engines: Sequence[str] = ("packed",)
    label_only: bool = False


def outsource(
    model: QuantisedModel, release: Release, clouds: Clouds, report: Report = lambda done, layers, name: None
) -> ModelEntry:
    """Both clouds have the model when this returns, neither has it when it raises."""
    key = clouds.key
    refuse_unrunnable(model.plan, clouds.params, release.engines)
    halves = blind_model(model, clouds.params, key.n)
    plan = model.plan
    multiplied, added = model_plaintexts(plan, clouds.params)
    header = ModelHeader(
        protocol_version=PROTOCOL_VERSION,
        model=release.name,
        version=release.version,
        import_id=secrets.token_bytes(16),
        plan_json=plan.to_json(),
        engines=release.engines,
        label_only=release.label_only,
        key_fingerprint=bytes.fromhex(key.fingerprint),
        multiplied=multiplied,
        added=added,
        data_bytes=len(halves[0]),
    )
    return _send(header, halves, clouds, report)


def blind_model(model: QuantisedModel, params: Params, n: mpz) -> tuple[bytes, bytes]:
    """S1's half (K*M, b+r) and S2's half (M^-1, r) in wire form."""
    pairs = []
    for name, which, segment in model_segments(model.plan, params):
        values = (model.weights, model.biases)[which][name]
        unsigned = offset_binary(np.asarray(values, np.int64), segment.bits)
        pairs.append(blind_values(unsigned, segment, n))
    return b"".join(pair[0] for pair in pairs), b"".join(pair[1] for pair in pairs)


def _send(header: ModelHeader, halves: tuple[bytes, bytes], clouds: Clouds, report: Report) -> ModelEntry:
    """Both streams at once: S1 runs the import as soon as it has its half, and waits for S2's."""
    calls = [
        ProvisionStub(link.channel).Outsource(_pieces(header, half), timeout=DEADLINE)
        for link, half in ((clouds.s1, halves[0]), (clouds.s2, halves[1]))
    ]
    errors: list[TwinveilError] = []
    entries: list[ModelEntry] = []

    def follow(index: int, name: str) -> None:
        try:
            for event in calls[index]:
                _take(event, index, entries, report)
        except RpcError as error:
            # The first error is the reason; what the other call says then is only its echo.
            errors.append(from_rpc_error(error, name))
            calls[1 - index].cancel()  # type: ignore[no-untyped-call]

    other = threading.Thread(target=follow, args=(1, clouds.s2.peer), daemon=True)
    other.start()
    try:
        follow(0, clouds.s1.peer)
        other.join()
    except BaseException:
        for call in calls:
            call.cancel()  # type: ignore[no-untyped-call]
        raise
    if errors:
        clouds.forget(header.model, header.version)
        raise errors[0]
    return entries[0]


def _take(event: OutsourceEvent, index: int, entries: list[ModelEntry], report: Report) -> None:
    if event.WhichOneof("event") == "outsourced":
        entries.append(event.outsourced)
    elif index == 0:
        report(event.progress.stage, event.progress.stages, event.progress.label)


def _pieces(header: ModelHeader, data: bytes) -> Iterator[ModelChunk]:
    yield ModelChunk(header=header)
    for start in range(0, len(data), CHUNK_BYTES):
        yield ModelChunk(data=data[start : start + CHUNK_BYTES])
