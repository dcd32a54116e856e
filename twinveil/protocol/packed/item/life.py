"""An item's one life: whole until it is spent, once, in the process in which it was made."""

from __future__ import annotations

from typing import Generic, TypeVar

from twinveil.errors import AlreadyUsed
from twinveil.protocol.single_use import SingleUse

Held = TypeVar("Held")


class Item(SingleUse, Generic[Held]):
    """One cloud's half of an item."""

    def __init__(self, held: Held) -> None:
        self._held: Held | None = held

    def spend(self) -> Held:
        """What it holds. Once; AlreadyUsed after that, and in a process that a fork copied it to."""
        held = self._held
        self.burn()
        self.refuse_copies()
        if held is None:
            raise AlreadyUsed("an item serves one picture")
        return held

    def burn(self) -> None:
        """It will serve nobody."""
        self._held = None
