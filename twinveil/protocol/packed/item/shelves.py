"""S2's items until they are spent: free, reserved by one query, or gone.

An item lives in memory, as long as the conversation in which it was made. A reserved one is out of every
other query's reach; it goes back only if nothing of it was opened and its conversation still stands. Whatever
else happens burns it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from twinveil.errors import AlreadyUsed, BrokenOff
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.single_use import SingleUse

Name = tuple[bytes, int]
"""Of an item: its conversation's session id, and its number there."""
Kept = tuple[ItemS2, Callable[[], None]]
"""An item, and what gives its part of the memory back."""


class Shelf(SingleUse):
    """The free items of one conversation, by number."""

    def __init__(self, import_id: bytes) -> None:
        self.import_id = import_id
        self.items: dict[int, Kept] = {}


class Reservation(SingleUse):
    """Items of one query, picture by picture, for the length of a `with` block: the query.

    Their memory is given back at its end. Those that are not released by then are burnt.
    """

    def __init__(self, shelves: Shelves, taken: dict[Name, Kept]) -> None:
        self._shelves = shelves
        self._taken = taken
        self._burnt: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        taken, self._taken = self._taken, {}
        burnt, self._burnt = self._burnt, []
        _free(taken.values())
        for free in burnt:
            free()

    def burn(self) -> list[ItemS2]:
        """The items, which no other query will ever have.

        Raises BrokenOff if a conversation of theirs is over.
        """
        taken, self._taken = self._taken, {}
        self._burnt = [free for _, free in taken.values()]
        if not self._shelves.stand(taken):
            raise BrokenOff("the conversation of these items has ended: ask again")
        return [item for item, _ in taken.values()]

    def release(self) -> None:
        """Nothing of them was opened: free again, but for those whose conversation is over."""
        taken, self._taken = self._taken, {}
        self._shelves.put_back(taken)


class Shelves:
    """All shelves by session id. Safe for threads."""

    def __init__(self) -> None:
        self._shelves: dict[bytes, Shelf] = {}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Free items."""
        with self._lock:
            return sum(len(shelf.items) for shelf in self._shelves.values())

    @contextmanager
    def open(self, session_id: bytes, import_id: bytes) -> Iterator[None]:
        """A conversation's shelf for as long as the block lasts; then all its items are gone.

        Raises AlreadyUsed for a session id that another conversation has.
        """
        shelf = Shelf(import_id)
        with self._lock:
            if session_id in self._shelves:
                raise AlreadyUsed("another conversation has this session id")
            self._shelves[session_id] = shelf
        try:
            yield
        finally:
            self._drop([session_id])

    def put(self, name: Name, item: ItemS2, free: Callable[[], None]) -> None:
        """A new item, where its conversation's shelf still stands."""
        self.put_back({name: (item, free)})

    def reserve(self, import_id: bytes, names: Sequence[Name]) -> Reservation:
        """The items of these names.

        Raises AlreadyUsed unless all are free and of this model: those that are free are burnt, as at S1.
        """
        with self._lock:
            shelves = {name: shelf for name in names if (shelf := self._shelves.get(name[0]))}
            taken = {
                name: shelf.items.pop(name[1]) for name, shelf in shelves.items() if name[1] in shelf.items
            }
        alike = all(shelf.import_id == import_id for shelf in shelves.values())
        if not alike or len(taken) != len(names) or not names:
            _free(taken.values())
            raise AlreadyUsed("cloud_s2 does not hold these items: they are used, or of another model")
        return Reservation(self, taken)

    def stand(self, taken: dict[Name, Kept]) -> bool:
        """Whether the conversations of all of these items still stand."""
        with self._lock:
            return all(session_id in self._shelves for session_id, _ in taken)

    def put_back(self, taken: dict[Name, Kept]) -> None:
        gone = []
        with self._lock:
            for (session_id, number), kept in taken.items():
                if shelf := self._shelves.get(session_id):
                    shelf.items[number] = kept
                else:
                    gone.append(kept)
        _free(gone)

    def forget(self, import_id: bytes) -> None:
        """The model is gone, and with it all its items, and those that are being made."""
        with self._lock:
            doomed = [name for name, shelf in self._shelves.items() if shelf.import_id == import_id]
        self._drop(doomed)

    def _drop(self, session_ids: Sequence[bytes]) -> None:
        with self._lock:
            dropped = [self._shelves.pop(each) for each in session_ids if each in self._shelves]
        for shelf in dropped:
            gone, shelf.items = shelf.items, {}  # a conversation that goes on has its shelf still
            _free(gone.values())


def _free(gone: Iterable[Kept]) -> None:
    for _, free in gone:
        free()
