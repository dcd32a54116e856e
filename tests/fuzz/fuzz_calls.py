"""Every RPC of every role as a fuzzing target: bytes of a request into the service, bytes of its replies out.

Requests are mutated as messages, now and then as bytes. Whoever answers is the real handler; only the clouds
that the user's service asks are stand-ins here, since a query is tried by the clouds' own targets.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import grpc
from google.protobuf.message import DecodeError, Message

from owner.catalogue import Catalogue, CatalogueEntry, CatalogueFile
from owner.sealing.rig import ACCOUNT, FACE, PAYMENT, Rig, face
from tests.fuzz import mutate
from tests.fuzz.fuzz_files import PICTURE, Target, tiny_card
from tests.security.stand_ins import Near, Registered, called
from tests.security.world import OWNER, S1, USER, World, tiny_model, tiny_plan
from twinveil.errors import InvalidMessage
from twinveil.rounds.chunks import cut
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.catalogue_pb2 import GetModelRequest
from twinveil.rpc.gateway_pb2 import Picture
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.keys_pb2 import GetPublicKeyRequest
from twinveil.rpc.provision_pb2 import ModelChunk, ModelHeader, RemoveModelRequest
from twinveil.rpc.sealing_pb2 import (
    EnrolRequest,
    GetNetworkRequest,
    GetTermsRequest,
    RegisterDeviceRequest,
    VerifyRequest,
)
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
from twinveil.rpc.types_pb2 import ListModelsRequest, Progress
from twinveil.sealing.enrolment import _INFO, _SUITE, Enrolment
from twinveil.sealing.server.service import SealingService
from twinveil.sealing.server.verify import Policy
from twinveil.services.catalogue import CatalogueServicer
from twinveil.services.gateway import GatewayServicer
from twinveil.services.inference import InferenceServicer
from twinveil.services.keys import KeysServicer, KnownKey
from twinveil.services.provision import ProvisionServicer
from twinveil.services.rounds import RoundsServicer
from twinveil.services.sealing import SealingServer, SealingServicer
from twinveil.services.status import StatusServicer
from twinveil.transport.channel import Connection, Me
from twinveil.transport.identity import PeerIdentity
from twinveil.transport.server import Service
from user.client import Client
from user.contact import Contact
from user.gateway import Gateway

Honest = Callable[[random.Random], Sequence[Message]]
"""The messages of a call that would be answered."""

FIRST_REPLY = ("Inference.Classify", "Provision.Outsource")
"""Calls that then wait for the other cloud, with which fuzz_steps.py goes on."""


def calls(folder: Path, world: World) -> Iterator[tuple[str, Target]]:
    """ROLE.SERVICE.METHOD of every RPC that a role serves, and the replies as those read them who asked."""
    rig = Rig.make(folder / "sealing", policy=Policy(most_misses=1 << 30))
    rig.enrol()
    s2_key = KnownKey(folder / "pin", insecure_small_key=True)
    contact = Contact(Me("user", "main", None), "", "", "", s2_key)
    roles = {role: Registered(services) for role, services in _services(folder, world, rig, contact).items()}
    honest = _honest(world, rig)
    asked = {**{role: found.methods for role, found in roles.items()}, **_stand_ins(roles)}
    for role, found in roles.items():
        for method, handler in found.methods.items():
            makes, identity = honest.get(f"{role}.{method}") or honest[method]
            target = _call(method, handler, makes, identity)
            if method == "Provision.RemoveModel":
                target = _there_again(world.root / role.removeprefix("cloud_"), target)
            if role == "user":
                target = _connected(asked, target)
            yield f"{role}.{method}", target
    yield "replies-to-user", _replies_to_user(asked, contact)
    yield "replies-to-device", _replies_to_device(roles["sealing"].methods, rig)


def _call(method: str, handler: Any, honest: Honest, identity: PeerIdentity) -> Target:
    serve = handler.unary_unary or handler.unary_stream or handler.stream_stream

    def target(source: random.Random) -> None:
        try:
            messages = [handler.request_deserializer(each) for each in mutate.of_call(honest(source), source)]
        except DecodeError:
            raise InvalidMessage("gRPC refuses it") from None
        sent = iter(messages) if handler.request_streaming else messages[0]
        replies = serve(sent, called(identity))
        if not handler.response_streaming:
            handler.response_serializer(replies)
            return
        with closing(replies):
            for reply in islice(replies, 1 if method in FIRST_REPLY else None):
                handler.response_serializer(reply)

    return target


def _services(folder: Path, world: World, rig: Rig, contact: Contact) -> Mapping[str, Sequence[Service]]:
    """What each role's services.py builds, which test_fuzz.py compares."""
    plan, public = tiny_plan(), world.public
    catalogue = CatalogueFile(folder / "owner")
    with catalogue.adding(
        CatalogueEntry("tiny", "1", plan, tiny_card(), ("packed",), False, public.fingerprint, bytes(16))
    ):
        pass
    # Models that may be removed.
    world.outsource(tiny_model(), name="spare")
    jwk, fingerprint = json.dumps(public.to_jwk()), bytes.fromhex(public.fingerprint)
    sealing = SealingService(rig.keys, rig.model, rig.recogniser, rig.store, Policy(most_misses=1 << 30))
    return {
        "cloud_s1": [
            StatusServicer("cloud_s1"),
            ProvisionServicer(world.provision1),
            InferenceServicer(world.queries1),
        ],
        "cloud_s2": [
            StatusServicer("cloud_s2"),
            KeysServicer(jwk, fingerprint),
            ProvisionServicer(world.provision2),
            InferenceServicer(world.queries2),
            RoundsServicer(world.conversations.open),
        ],
        "owner": [StatusServicer("owner"), CatalogueServicer(Catalogue(catalogue))],
        "user": [StatusServicer("user"), GatewayServicer(Gateway(contact))],
        "sealing": [StatusServicer("owner"), SealingServicer(sealing)],
    }


def _honest(world: World, rig: Rig) -> Mapping[str, tuple[Honest, PeerIdentity]]:
    """By SERVICE.METHOD, with the role before it where the clouds get different halves."""
    plan, (for_s1, for_s2) = tiny_plan(), world.halves(tiny_model())
    query, header = world.query(plan), world.header(plan, "new")
    record = world.models1.store.find("tiny", "1")
    opening = pb.OpenQuery(
        protocol_version=ROUNDS_VERSION,
        session_id=bytes(16),
        import_id=record.import_id,
        layout=record.layouts.textbook.digest,
    )

    def once(message: Message) -> Honest:
        return lambda source: [message]

    def half(message: QueryHalf) -> Honest:
        return lambda source: [_with(message, query_id=source.randbytes(16))]

    def model(data: bytes) -> Honest:
        def make(source: random.Random) -> Sequence[ModelChunk]:
            named: ModelHeader = _with(header, import_id=source.randbytes(16))
            return [ModelChunk(header=named), ModelChunk(data=data)]

        return make

    def rounds(source: random.Random) -> Sequence[pb.Chunk]:
        bodies = (pb.Round(open_query=opening), pb.Round(prepare=pb.Prepare(base_ot=bytes(4096))))
        return [chunk for at, each in enumerate(bodies) for chunk in cut(each.SerializeToString(), at)]

    def enrolment(source: random.Random) -> Sequence[EnrolRequest]:
        """Half of them sealed as they should be, with something else inside."""
        if source.random() < 0.5:
            return [EnrolRequest(enrolment=sealed, replace=True)]
        inside = _SUITE.encrypt(mutate.of_bytes(plain, source), keys.hybrid, _INFO + keys.key_id)
        return [EnrolRequest(enrolment=inside, replace=True)]

    keys = rig.keys.public
    sealed = Enrolment(ACCOUNT, PAYMENT, "", (face(FACE, 0),)).sealed(keys)
    plain = _SUITE.decrypt(sealed, rig.keys.hybrid, _INFO + keys.key_id)
    envelopes = [rig.seal() for _ in range(4)]
    device = RegisterDeviceRequest(device="till-7", public_key=rig.device.public_key)
    return {
        "Status.GetStatus": (once(GetStatusRequest()), USER),
        "Keys.GetPublicKey": (once(GetPublicKeyRequest()), USER),
        "Provision.ListModels": (once(ListModelsRequest()), OWNER),
        "Provision.RemoveModel": (once(RemoveModelRequest(model="spare", version="1")), OWNER),
        "cloud_s1.Provision.Outsource": (model(for_s1), OWNER),
        "cloud_s2.Provision.Outsource": (model(for_s2), OWNER),
        "cloud_s1.Inference.Classify": (half(query.s1), USER),
        "cloud_s2.Inference.Classify": (half(query.s2), USER),
        "Rounds.Converse": (rounds, S1),
        "Catalogue.ListModels": (once(ListModelsRequest()), USER),
        "Catalogue.GetModel": (once(GetModelRequest(model="tiny", version="1")), USER),
        "Gateway.Classify": (once(Picture(file=PICTURE, model="tiny", version="1", engine="packed")), USER),
        "Sealing.GetTerms": (once(GetTermsRequest()), USER),
        "Sealing.GetNetwork": (once(GetNetworkRequest(network=rig.model.network.digest)), USER),
        "Sealing.RegisterDevice": (once(device), OWNER),
        "Sealing.Enrol": (enrolment, OWNER),
        "Sealing.Verify": (lambda source: [VerifyRequest(envelope=source.choice(envelopes))], USER),
    }


def _with(message: Any, **values: object) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _there_again(root: Path, target: Target) -> Target:
    """What the target may have removed is there again for its next input."""
    there, kept = root / "spare@1", root.parent / f"spare-of-{root.name}"
    shutil.copytree(there, kept)

    def restored(source: random.Random) -> None:
        if not there.is_dir():
            shutil.copytree(kept, there)
        target(source)

    return restored


class Canned:
    """An InferenceHandler that answers at once: all zeros."""

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        yield Progress(stage=1, stages=2, label="SCVL")
        words = query.pictures * (1 if query.label_only else tiny_plan().output.out_features)
        return AnswerHalf(half=bytes(4 * words), figures_json="{}")


def _stand_ins(roles: Mapping[str, Registered]) -> dict[str, Mapping[str, Any]]:
    canned = Registered([InferenceServicer(Canned())]).methods
    return {role: roles[role].methods | canned for role in ("cloud_s1", "cloud_s2")}


def _connected(
    asked: Mapping[str, Mapping[str, Any]],
    target: Target,
    bend: Callable[[random.Random], Callable[[str, Any], Any]] | None = None,
) -> Target:
    """The target, with the roles that the user's client asks in this process."""

    def connected(source: random.Random) -> None:
        change = bend(source) if bend else lambda method, reply: reply

        @contextmanager
        def near(me: Me, role: str, address: str, wait: float) -> Iterator[Connection]:
            yield _link(asked[role], role, change)

        with patch("user.client.connect", near):
            target(source)

    return connected


def _link(methods: Mapping[str, Any], role: str, bend: Callable[[str, Any], Any]) -> Connection:
    return Connection(cast("grpc.Channel", Near(methods, USER, bend)), role, GetStatusReply())


def _one_of(methods: Sequence[str]) -> Callable[[random.Random], Callable[[str, Any], Any]]:
    """Every reply of one method, drawn anew for each input, is mutated."""

    def bend(source: random.Random) -> Callable[[str, Any], Any]:
        chosen = source.choice(methods)
        return lambda method, reply: mutate.of_message(reply, source) if method == chosen else reply

    return bend


def _replies_to_user(asked: Mapping[str, Mapping[str, Any]], contact: Contact) -> Target:
    def target(source: random.Random) -> None:
        with Client(contact) as client:
            client.classify([PICTURE], "tiny", label_only=source.random() < 0.5)

    return _connected(
        asked, target, _one_of(["Keys.GetPublicKey", "Catalogue.GetModel", "Inference.Classify"])
    )


def _replies_to_device(methods: Mapping[str, Any], rig: Rig) -> Target:
    bend = _one_of(["Sealing.GetTerms", "Sealing.GetNetwork", "Sealing.Verify"])
    envelope = rig.seal(who="another face")

    def target(source: random.Random) -> None:
        server = SealingServer(_link(methods, "sealing", bend(source)))
        _, digest, _ = server.terms()
        server.network(digest)
        server.verify(envelope)

    return target
