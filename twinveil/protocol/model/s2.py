"""A model at S2: one import an engine, in one conversation, until S1 asks to keep it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import PeerMismatch
from twinveil.halves.model import Halves
from twinveil.parallel import Workers
from twinveil.protocol.model.layout import Layouts, present
from twinveil.protocol.packed.model import s2 as of_packed
from twinveil.protocol.textbook.model import s2 as of_textbook
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True)
class ModelS2:
    """What S2 keeps of a model: shares for `packed`, nothing for `textbook`."""

    layouts: Layouts
    packed: of_packed.ModelS2 | None = None

    @property
    def for_packed(self) -> of_packed.ModelS2:
        """Raises BadInput if it was not outsourced for this engine."""
        return present(self.packed, "packed")


def import_model(
    opening: pb.OpenImport,
    layouts: Layouts,
    halves: Halves,
    key: SecretKey,
    workers: Workers,
    observer: Observer = NOBODY,
) -> Generator[pb.Round, pb.Round, ModelS2]:
    """S2's conversation after `opening`; yields replies, returns the model once S1 commits.

    The caller stores the returned model and only then answers Done.
    """
    observer.about(layouts.topic(key.public_key.n))
    model, request = None, pb.Round(open_import=opening)
    if halves.packed is not None:
        model, request = yield from of_packed.import_model(
            _next(request, opening), layouts.packed, halves.packed, key, workers, observer
        )
    if halves.textbook is not None:
        request = yield from of_textbook.import_model(
            _next(request, opening), layouts.textbook, halves.textbook, key, workers, observer
        )
    expect(request, "commit")
    return ModelS2(layouts, model)


def _next(request: pb.Round, first: pb.OpenImport) -> pb.OpenImport:
    """The opening of the next engine's import, of the same model."""
    opening = expect(request, "open_import").open_import
    if (opening.import_id, opening.binding) != (first.import_id, first.binding):
        raise PeerMismatch("one conversation imports one model")
    return opening
