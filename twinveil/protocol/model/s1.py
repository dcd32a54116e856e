"""A model at S1: one import an engine, in one conversation, then S2 is asked to keep it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from twinveil.halves.model import Halves
from twinveil.protocol.model.layout import Layouts, present
from twinveil.protocol.packed.model import s1 as of_packed
from twinveil.protocol.packed.powers import Machine
from twinveil.protocol.textbook.model import s1 as of_textbook
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.peer import Ask
from twinveil.rpc.types_pb2 import Progress


@dataclass(frozen=True)
class ModelS1:
    """What S1 keeps of a model, for each of its engines."""

    packed: of_packed.ModelS1 | None = None
    textbook: of_textbook.ModelS1 | None = None

    @property
    def for_packed(self) -> of_packed.ModelS1:
        """Raises BadInput if it was not outsourced for this engine."""
        return present(self.packed, "packed")

    @property
    def for_textbook(self) -> of_textbook.ModelS1:
        """The same."""
        return present(self.textbook, "textbook")


def import_model(
    ask: Ask,
    import_id: bytes,
    binding: bytes,
    layouts: Layouts,
    halves: Halves,
    machine: Machine,
    observer: Observer = NOBODY,
) -> Generator[Progress, None, ModelS1]:
    """Yields progress before each layer, returns the model. The caller stores it, then asks S2 to commit.

    binding: of what the owner said of it (cloud/requests.py). halves: S1's, checked.
    """
    observer.about(layouts.topic(machine.key.n))
    packed = textbook = None
    if halves.packed is not None:
        packed = yield from of_packed.import_model(
            ask, import_id, binding, layouts.packed, halves.packed, machine, observer
        )
    if halves.textbook is not None:
        textbook = yield from of_textbook.import_model(
            ask,
            import_id,
            binding,
            layouts.textbook,
            halves.textbook,
            machine.key,
            machine.workers,
            machine.tally,
            observer,
        )
    return ModelS1(packed, textbook)
