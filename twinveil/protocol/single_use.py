"""What holds masks, shares or labels of one query lives in one process and serves once."""

from __future__ import annotations

from typing import NoReturn


class SingleUse:
    """Neither pickled nor copied: a copy would use the same masks again. Its repr is its type."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds what is used once: it is neither pickled nor copied")
