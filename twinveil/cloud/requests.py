"""What clients ask of a cloud, checked against what that cloud holds: the same checks at S1 and S2."""

from __future__ import annotations

from collections.abc import Sequence

from gmpy2 import mpz

from twinveil.cloud.store import Record
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import BadInput, InvalidMessage, NotAllowed, PeerMismatch, TooMuch
from twinveil.halves.blinding import decode, half_bytes, picture_segment
from twinveil.halves.integers import model_plaintexts
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.query.engines import check_pictures
from twinveil.protocol.size import query_size, refuse_unrunnable
from twinveil.rounds.scripted import binding
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.transport.identity import PeerIdentity


def read_query(
    query: QueryHalf, caller: PeerIdentity, record: Record, params: Params, n: mpz
) -> tuple[QueryHead, Sequence[mpz]]:
    """The head and this cloud's half of the pictures."""
    if query.plan_hash != record.plan.hash:
        raise PeerMismatch("this query was made for another plan of the model: get the model again")
    if record.label_only and not query.label_only:
        raise NotAllowed("the owner allows only the label of this model: ask with --label-only")
    if query.engine not in record.engines:
        raise BadInput(f"this model was outsourced for {' and '.join(record.engines)}, not {query.engine!r}")
    check_pictures(query.engine, query.pictures)
    if fault := query_size(record.plan, params, query.engine, query.pictures).fault:
        raise TooMuch(f"{query.pictures} pictures of this model in one query have {fault}: ask for fewer")
    layout = picture_segment(record.plan, query.pictures, key_bits=params.key_bits, sigma=params.sigma)
    head = QueryHead(
        query.query_id,
        caller.fingerprint.hex(),
        record.import_id,
        query.plan_hash,
        query.engine,
        query.label_only,
        query.pictures,
    )
    return head, decode(query.half, layout, n)


def import_binding(record: Record, caller: PeerIdentity) -> bytes:
    """What ties the two halves of an import together, so that nobody's half meets another owner's.

    Plan and engines are compared with the layout (protocol.textbook.model.s2).
    """
    return binding(
        b"twinveil import",
        record.import_id,
        caller.fingerprint,
        record.model.encode(),
        record.version.encode(),
        bytes([record.label_only]),
    )


def read_header(header: ModelHeader, caller: PeerIdentity, params: Params, key: PublicKey) -> Record:
    """The model that an owner announces. Raises before any of its data is read."""
    if header.key_fingerprint.hex() != key.fingerprint:
        raise PeerMismatch("this model was blinded for another key: fetch cloud_s2's key again")
    plan = Plan.from_json(header.plan_json)
    layout = ImportLayout(plan, params, tuple(header.engines))
    refuse_unrunnable(plan, params, layout.engines)
    multiplied, added = model_plaintexts(plan, params)
    size = (multiplied + added) * half_bytes(key.n)
    if (header.multiplied, header.added, header.data_bytes) != (multiplied, added, size):
        raise InvalidMessage(f"a model of this plan has {multiplied} + {added} plaintexts in {size} bytes")
    return Record(
        header.model,
        header.version,
        header.import_id,
        layout,
        header.label_only,
        key.fingerprint,
        caller.name,
    )
