"""The Sealing service as a thin shell, and the calls to it from the other side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from twinveil.errors import BadPlan, InvalidMessage, PeerMismatch, TooMuch
from twinveil.rounds.chunks import CHUNK_BYTES
from twinveil.rpc import sealing_pb2_grpc
from twinveil.rpc.sealing_pb2 import (
    EnrolReply,
    EnrolRequest,
    GetNetworkRequest,
    GetTermsRequest,
    NetworkPiece,
    PaymentReceipt,
    RegisterDeviceReply,
    RegisterDeviceRequest,
    Terms,
    VerifyReply,
    VerifyRequest,
)
from twinveil.sealing.envelope import MOST_ENVELOPE_BYTES
from twinveil.sealing.keys import PublicKeys
from twinveil.sealing.network_files import MOST_JSON_BYTES, MOST_TENSOR_BYTES, Network, parse_network
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from twinveil.transport.channel import Connection
from twinveil.transport.status import from_rpc_error
from twinveil.version import PROTOCOL_VERSION

DEADLINE = 60.0

_OUTCOMES = {
    Outcome.REFUSED: VerifyReply.REFUSED,
    Outcome.TRY_ANOTHER_PICTURE: VerifyReply.TRY_ANOTHER_PICTURE,
    Outcome.PASSED: VerifyReply.PASSED,
}
_MEANINGS = {code: outcome for outcome, code in _OUTCOMES.items()}


class SealingHandler(Protocol):
    """What is behind the service."""

    @property
    def keys(self) -> PublicKeys: ...

    @property
    def network(self) -> Network: ...

    @property
    def sign_versions(self) -> Sequence[int]: ...

    def register_device(self, name: str, public_key: bytes) -> None: ...

    def enrol(self, data: bytes, replace: bool) -> str: ...

    def verify(self, data: bytes) -> tuple[Outcome, Receipt | None]: ...


class SealingServicer(sealing_pb2_grpc.SealingServicer):
    """Devices and the operator -> the sealing server."""

    service_name = "twinveil.rpc.Sealing"

    def __init__(self, handler: SealingHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        sealing_pb2_grpc.add_SealingServicer_to_server(self, server)

    def GetTerms(self, request: GetTermsRequest, context: grpc.ServicerContext) -> Terms:
        return Terms(
            protocol_version=PROTOCOL_VERSION,
            keys=self._handler.keys.data,
            network=self._handler.network.digest,
            sign_versions=self._handler.sign_versions,
        )

    def GetNetwork(self, request: GetNetworkRequest, context: grpc.ServicerContext) -> Iterator[NetworkPiece]:
        network = self._handler.network
        if request.network != network.digest:
            raise PeerMismatch("the sealing server has another network by now: ask for its terms again")
        yield NetworkPiece(json=network.json_bytes)
        for start in range(0, len(network.tensor_bytes), CHUNK_BYTES):
            yield NetworkPiece(tensors=network.tensor_bytes[start : start + CHUNK_BYTES])

    def RegisterDevice(
        self, request: RegisterDeviceRequest, context: grpc.ServicerContext
    ) -> RegisterDeviceReply:
        self._handler.register_device(request.device, request.public_key)
        return RegisterDeviceReply()

    def Enrol(self, request: EnrolRequest, context: grpc.ServicerContext) -> EnrolReply:
        return EnrolReply(account=self._handler.enrol(request.enrolment, request.replace))

    def Verify(self, request: VerifyRequest, context: grpc.ServicerContext) -> VerifyReply:
        if len(request.envelope) > MOST_ENVELOPE_BYTES:
            raise TooMuch(f"an envelope has at most {MOST_ENVELOPE_BYTES} bytes")
        outcome, receipt = self._handler.verify(request.envelope)
        reply = VerifyReply(outcome=_OUTCOMES[outcome])
        if receipt is not None:
            reply.receipt.CopyFrom(
                PaymentReceipt(
                    number=receipt.number,
                    account=receipt.account,
                    payee=receipt.payee,
                    amount=receipt.amount,
                    currency=receipt.currency,
                    payment=receipt.payment,
                    time=receipt.time,
                )
            )
        return reply


@dataclass(frozen=True, slots=True)
class SealingServer:
    """The server as the other side sees it. Every call raises what the server raised, or PeerUnavailable."""

    link: Connection

    def _stub(self) -> sealing_pb2_grpc.SealingStub:
        return sealing_pb2_grpc.SealingStub(self.link.channel)

    def terms(self) -> tuple[PublicKeys, bytes, tuple[int, ...]]:
        """Its keys, its network's digest and the sign_versions that it accepts."""
        try:
            reply = self._stub().GetTerms(GetTermsRequest(), timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.link.peer) from None
        if reply.protocol_version != PROTOCOL_VERSION:
            raise PeerMismatch(f"{self.link.peer} speaks another protocol version: bring both to one release")
        return PublicKeys(reply.keys), reply.network, tuple(reply.sign_versions)

    def network(self, digest: bytes) -> Network:
        """The network of that digest. Raises BadPlan for any other."""
        json_bytes, tensors, size = b"", [], 0
        try:
            for piece in self._stub().GetNetwork(GetNetworkRequest(network=digest), timeout=DEADLINE):
                json_bytes = json_bytes or piece.json
                tensors.append(piece.tensors)
                size += len(piece.tensors)
                if len(json_bytes) > MOST_JSON_BYTES or size > MOST_TENSOR_BYTES:
                    raise TooMuch(f"{self.link.peer} sends a network larger than any")
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.link.peer) from None
        network = parse_network(json_bytes, b"".join(tensors))
        if network.digest != digest:
            raise BadPlan(f"{self.link.peer} sends another network than it names")
        return network

    def register_device(self, name: str, public_key: bytes) -> None:
        request = RegisterDeviceRequest(device=name, public_key=public_key)
        try:
            self._stub().RegisterDevice(request, timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.link.peer) from None

    def enrol(self, enrolment: bytes, replace: bool) -> str:
        request = EnrolRequest(enrolment=enrolment, replace=replace)
        try:
            return self._stub().Enrol(request, timeout=DEADLINE).account
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.link.peer) from None

    def verify(self, envelope: bytes) -> tuple[Outcome, Receipt | None]:
        try:
            reply = self._stub().Verify(VerifyRequest(envelope=envelope), timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.link.peer) from None
        outcome = _MEANINGS.get(reply.outcome)
        if outcome is None or (outcome is Outcome.PASSED) != reply.HasField("receipt"):
            raise InvalidMessage(f"{self.link.peer} answers with something that is no outcome")
        if outcome is not Outcome.PASSED:
            return outcome, None
        kept = reply.receipt
        return outcome, Receipt(
            kept.number, kept.account, kept.payee, kept.amount, kept.currency, kept.payment, kept.time
        )
