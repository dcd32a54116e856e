"""Secure outsourcing of a model: blinded halves to S1, blindings to S2, the import that they run."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from owner.clouds import Clouds
from twinveil.errors import BadInput, TwinveilError
from twinveil.halves.model import blind_model
from twinveil.network.plan import QuantisedModel
from twinveil.params import Engine
from twinveil.protocol.model.layout import ENGINES
from twinveil.protocol.size import refuse_unrunnable
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.services.provision import outsource_to_both
from twinveil.values import check_truth, check_word
from twinveil.version import PROTOCOL_VERSION
from twinveil.wording import Telling

DEADLINE = 7200.0


@dataclass(frozen=True, slots=True)
class Offer:
    """Under which name a model goes out, for which engines, and what its users may ask.

    import_id: of this one import; users name it in their queries. engines come in the order of ENGINES.
    """

    name: str
    version: str
    engines: Sequence[str] = ("packed",)
    label_only: bool = False
    import_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def __post_init__(self) -> None:
        """Raises BadInput, before anything is blinded."""
        if isinstance(self.engines, str):
            raise BadInput(f"engines are several words, such as ({self.engines!r},)")
        for engine in self.engines:
            check_word("engine", engine, Engine)
        if not self.engines:
            raise BadInput("a model goes out for one engine at least")
        check_truth("label_only", self.label_only)
        object.__setattr__(self, "engines", tuple(each for each in ENGINES if each in self.engines))


def outsource(
    model: QuantisedModel, offer: Offer, clouds: Clouds, report: Telling = lambda done, layers, name: None
) -> ModelEntry:
    """Both clouds have the model when this returns, neither has it when it raises."""
    key = clouds.key
    refuse_unrunnable(model.plan, clouds.params, offer.engines)
    halves = blind_model(model, offer.engines, clouds.params, key.n)
    header = ModelHeader(
        protocol_version=PROTOCOL_VERSION,
        model=offer.name,
        version=offer.version,
        import_id=offer.import_id,
        plan_json=model.plan.to_json(),
        engines=offer.engines,
        label_only=offer.label_only,
        key_fingerprint=bytes.fromhex(key.fingerprint),
        data_bytes=len(halves[0]),
    )
    return _send(header, halves, clouds, report)


def _send(header: ModelHeader, halves: tuple[bytes, bytes], clouds: Clouds, report: Telling) -> ModelEntry:
    """Both streams at once: S1 runs the import as soon as it has its half, and waits for S2's."""
    links = (clouds.s1, clouds.s2)
    try:
        return outsource_to_both(links, header, halves, DEADLINE, report)
    except TwinveilError:
        clouds.forget(header.model, header.version)
        raise
