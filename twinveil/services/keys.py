"""Keys, everybody at S2: its public key, fetched once, pinned by fingerprint, never replaced silently."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from twinveil.crypto.public_key import PublicKey, params_of
from twinveil.errors import BadInput, InvalidKey, PeerMismatch
from twinveil.files import create, private_folder
from twinveil.params import Params
from twinveil.rpc import keys_pb2_grpc
from twinveil.rpc.keys_pb2 import GetPublicKeyReply, GetPublicKeyRequest
from twinveil.transport.status import from_rpc_error
from twinveil.values import read_json

PIN = "cloud_s2.fingerprint"
"""In a role's state: the fingerprint of S2's key."""
DEADLINE = 20.0
FINGERPRINT_BYTES = 32


class KeysServicer(keys_pb2_grpc.KeysServicer):
    """S2 -> everyone."""

    service_name = "twinveil.rpc.Keys"

    def __init__(self, jwk: str, fingerprint: bytes) -> None:
        self._reply = GetPublicKeyReply(jwk=jwk, fingerprint=fingerprint)

    def register(self, server: grpc.Server) -> None:
        keys_pb2_grpc.add_KeysServicer_to_server(self, server)

    def GetPublicKey(self, request: GetPublicKeyRequest, context: grpc.ServicerContext) -> GetPublicKeyReply:
        return self._reply


@dataclass(frozen=True)
class KnownKey:
    """How far S2's key is known to a role.

    pin: the file with the fingerprint of the first contact. fingerprint: what the key must be, from outside
    (a start-up kit, the owner's word); else the file decides.
    """

    pin: Path
    fingerprint: str | None = None
    insecure_small_key: bool = False

    def known(self) -> str:
        """The fingerprint in hexadecimal, empty before the first contact. Raises BadInput for a bad pin."""
        return self.fingerprint or read_pin(self.pin) or ""

    def params(self, key: PublicKey) -> Params:
        """Parameters for S2's key."""
        return Params(key.bits, insecure_small_key=self.insecure_small_key)

    def fetch(self, channel: grpc.Channel) -> PublicKey:
        """The key behind `channel` if it is the known one; pins it at the first contact.

        Raises PeerMismatch for any other key.
        """
        try:
            reply = keys_pb2_grpc.KeysStub(channel).GetPublicKey(GetPublicKeyRequest(), timeout=DEADLINE)
        except grpc.RpcError as error:
            raise from_rpc_error(error, "cloud_s2") from None
        try:
            jwk = read_json(reply.jwk)
        except (ValueError, RecursionError):
            jwk = None
        if not isinstance(jwk, dict):
            raise PeerMismatch("cloud_s2 serves something that is no key")
        try:
            params = params_of(jwk, self.insecure_small_key)
        except InvalidKey as error:
            raise PeerMismatch(f"cloud_s2's key is refused: {error}") from None
        key = PublicKey.from_jwk(jwk, params)
        self.meet(bytes.fromhex(key.fingerprint))
        return key

    def meet(self, fingerprint: bytes) -> str:
        """The fingerprint of the key that S2 says it has, in hexadecimal; pins it at the first contact.

        Raises PeerMismatch for any other than the known one.
        """
        met = fingerprint.hex()
        if len(fingerprint) != FINGERPRINT_BYTES:
            raise PeerMismatch("cloud_s2 does not say which key it has")
        if (self.fingerprint or met) == met and not self.pin.exists():
            private_folder(self.pin.parent)
            with suppress(FileExistsError):  # another first contact was quicker: its key is the pinned one
                create(self.pin, met.encode() + b"\n")
        wanted = self.known()
        if wanted != met:
            raise PeerMismatch(
                f"cloud_s2 has key {met[:16]}..., but {wanted[:16]}... is pinned: if it was "
                f"replaced on purpose, remove {self.pin}, and outsource the models again"
            )
        return met


def read_pin(pin: Path) -> str | None:
    """The fingerprint in hexadecimal, None before the first contact. Raises BadInput for a damaged file."""
    try:
        text = pin.read_text(encoding="utf-8").strip()
        if len(bytes.fromhex(text)) != FINGERPRINT_BYTES:
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise BadInput(f"{pin} cannot be read: it should hold the key's fingerprint") from None
    return text
