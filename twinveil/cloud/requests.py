"""What clients ask of a cloud, checked against what that cloud holds: the same checks at S1 and S2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmpy2 import mpz

from twinveil.cloud.store import Record
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import BadInput, InvalidMessage, NotAllowed, PeerMismatch, TooMuch
from twinveil.halves.integers import read_picture_half
from twinveil.halves.model import half_sizes
from twinveil.halves.ring import read_picture_halves
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.size import query_size, refuse_unrunnable
from twinveil.ring import Words
from twinveil.rounds.scripted import binding
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.transport.identity import PeerIdentity


@dataclass(frozen=True)
class Query:
    """A user's query as one cloud has it, checked.

    words: its halves of the pictures (packed); residues: of the plaintexts (textbook).
    """

    head: QueryHead
    words: Sequence[Words] = ()
    residues: Sequence[mpz] = ()


def read_query(query: QueryHalf, caller: PeerIdentity, record: Record, params: Params, n: mpz) -> Query:
    """Raises unless this cloud can do its part of it."""
    if query.import_id != record.import_id:
        raise PeerMismatch("the model was replaced since you heard of it: get the model again")
    if query.plan_hash != record.plan.hash:
        raise PeerMismatch("this query was made for another plan of the model: get the model again")
    if record.label_only and not query.label_only:
        raise NotAllowed("the owner allows only the label of this model: ask with --label-only")
    if query.engine not in record.engines:
        raise BadInput(f"this model was outsourced for {' and '.join(record.engines)}, not {query.engine!r}")
    check_pictures(query.engine, query.pictures)
    if fault := query_size(record.plan, params, query.engine, query.pictures).fault:
        raise TooMuch(f"{query.pictures} pictures of this model in one query have {fault}: ask for fewer")
    head = QueryHead(
        query.query_id,
        caller.fingerprint.hex(),
        record.import_id,
        query.plan_hash,
        query.engine,
        query.label_only,
        query.pictures,
    )
    if query.engine == "packed":
        return Query(head, words=read_picture_halves(record.plan, query.pictures, query.half))
    return Query(head, residues=read_picture_half(record.plan, query.pictures, params, n, query.half))


def check_pictures(engine: str, pictures: int) -> None:
    """Raises TooMuch or BadInput for a number of pictures that no query with this engine has."""
    if not 1 <= pictures <= MAX_PICTURES:
        raise TooMuch(f"a query has 1 to {MAX_PICTURES} pictures, not {pictures}")
    if engine == "textbook" and pictures != 1:
        raise BadInput("the textbook engine classifies one picture at a time")


def import_binding(record: Record, caller: PeerIdentity) -> bytes:
    """What ties the two halves of an import together, so that nobody's half meets another owner's.

    Plan and engine are compared with the layout (protocol.binding).
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
    layouts = Layouts(plan, params, tuple(header.engines))
    refuse_unrunnable(plan, params, layouts.engines)
    size = sum(half_sizes(plan, layouts.engines, params))
    if header.data_bytes != size:
        raise InvalidMessage(f"half a model of this plan has {size} bytes, not {header.data_bytes}")
    return Record(
        header.model,
        header.version,
        header.import_id,
        layouts,
        header.label_only,
        key.fingerprint,
        caller.name,
    )
