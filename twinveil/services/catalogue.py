"""Catalogue, users at the owner: which models there are, and plan, card and key fingerprint of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import grpc

from twinveil.rpc import catalogue_pb2_grpc
from twinveil.rpc.catalogue_pb2 import GetModelReply, GetModelRequest
from twinveil.rpc.types_pb2 import ListModelsReply, ListModelsRequest, ModelEntry
from twinveil.transport.channel import Connection
from twinveil.transport.status import from_rpc_error


class CatalogueHandler(Protocol):
    """What the owner tells users."""

    def list_models(self) -> Sequence[ModelEntry]: ...

    def get_model(self, model: str, version: str) -> GetModelReply:
        """version may be empty: the newest. Raises UnknownModel."""
        ...


class CatalogueServicer(catalogue_pb2_grpc.CatalogueServicer):
    """Owner -> users."""

    service_name = "twinveil.rpc.Catalogue"

    def __init__(self, handler: CatalogueHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        catalogue_pb2_grpc.add_CatalogueServicer_to_server(self, server)

    def ListModels(self, request: ListModelsRequest, context: grpc.ServicerContext) -> ListModelsReply:
        return ListModelsReply(models=self._handler.list_models())

    def GetModel(self, request: GetModelRequest, context: grpc.ServicerContext) -> GetModelReply:
        return self._handler.get_model(request.model, request.version)


def get_model(link: Connection, model: str, version: str, timeout: float) -> GetModelReply:
    """The user's end. Raises UnknownModel."""
    request = GetModelRequest(model=model, version=version)
    try:
        return catalogue_pb2_grpc.CatalogueStub(link.channel).GetModel(request, timeout=timeout)
    except grpc.RpcError as error:
        raise from_rpc_error(error, link.peer) from None
