"""A folder of recordings: FOLDER/CLOUD/VIEW/, and FOLDER/pictures.json, the user's side of them.

The user's side is there where the recorder knew it, in the demo: which picture was asked when, and what it
shows. Pictures and views are matched by time alone, so it serves where queries come one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadInput
from twinveil.files import private_folder, replace
from twinveil.values import integer, read_json, real
from twinveil.views.view import INDEX, View, read
from twinveil.wording import typed

PICTURES = "pictures.json"
FORMAT = 1


@dataclass(frozen=True)
class Asked:
    """A picture that was classified between two times (seconds since 1970). pixels: hex, 8 bits each."""

    begin: float
    end: float
    truth: str
    answer: str
    shape: tuple[int, ...]
    pixels: str

    def array(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(bytes.fromhex(self.pixels), np.uint8).reshape(self.shape)


def asked(begin: float, end: float, truth: str, answer: str, picture: npt.NDArray[np.integer]) -> Asked:
    return Asked(begin, end, truth, answer, picture.shape, picture.astype(np.uint8).tobytes().hex())


def write_pictures(folder: Path, pictures: Sequence[Asked]) -> None:
    private_folder(folder)
    content = {"format": FORMAT, "pictures": [asdict(each) for each in pictures]}
    replace(folder / PICTURES, (json.dumps(content) + "\n").encode())


@dataclass(frozen=True)
class Collection:
    """All views of a folder, in the order in which they began."""

    views: Sequence[View]
    pictures: Sequence[Asked] = field(default_factory=tuple)

    @cached_property
    def matched(self) -> list[tuple[Asked, dict[str, View]]]:
        """Each picture with its view at each cloud."""
        found: list[tuple[Asked, dict[str, View]]] = [(each, {}) for each in self.pictures]
        for view in self.views:
            for each, views in found:
                if view.subject.kind == "query" and each.begin <= (view.asked or 0.0) <= each.end:
                    views[view.role] = view
        return found

    @property
    def classes(self) -> Mapping[int, str]:
        """id() of a view, of a query or of an item that it spent -> what its picture shows."""
        return {
            id(view): each.truth
            for each, views in self.matched
            for query in views.values()
            for view in with_items(query, self.views)
        }


def with_items(query: View, views: Iterable[View]) -> list[View]:
    """The views of the items that a query spent, at the same cloud, then the query's own: one picture's."""
    made = {view.items: view for view in views if view.role == query.role and view.subject.kind == "items"}
    return [*(made[each,] for each in query.items if (each,) in made), query]


def load(folder: Path) -> Collection:
    """Raises BadInput if there is no view, or one that is damaged."""
    views = sorted((read(index.parent) for index in folder.rglob(INDEX)), key=lambda view: view.began)
    if not views:
        raise BadInput(
            f"{folder} holds no views: record some with {typed('twinveil', 'demo', '--record', folder)}"
        )
    return Collection(views, _pictures(folder / PICTURES))


def _pictures(path: Path) -> tuple[Asked, ...]:
    try:
        content = read_json(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BadInput(f"{path} has format {content['format']}; this release reads {FORMAT}")
        found = tuple(_asked(**each) for each in content["pictures"])
        for each in found:
            each.array()
        return found
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise BadInput(f"{path} is no list of pictures") from None


def _asked(begin: float, end: float, truth: str, answer: str, shape: Sequence[int], pixels: str) -> Asked:
    """From JSON, where everything may be anything."""
    return Asked(
        real(begin), real(end), str(truth), str(answer), tuple(integer(side) for side in shape), pixels
    )
