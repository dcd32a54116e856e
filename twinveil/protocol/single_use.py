"""What holds masks, shares or labels of one query lives in one process and serves once."""

from __future__ import annotations

import os
from typing import NoReturn, Self

from twinveil.errors import AlreadyUsed


class SingleUse:
    """Neither pickled nor copied: a copy would use the same masks again. Its repr is its type."""

    _process: int

    def __new__(cls, *_: object, **__: object) -> Self:
        made = super().__new__(cls)
        made._process = os.getpid()
        return made

    def refuse_copies(self) -> None:
        """Raises AlreadyUsed in another process than made it: a fork copies what nothing else does."""
        if os.getpid() != self._process:
            raise AlreadyUsed(f"{type(self).__name__} belongs to the process that made it")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds what is used once: it is neither pickled nor copied")
