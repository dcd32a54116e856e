"""What the owner tells users of its models, from records that are written once both clouds have a model.

    STATE/models/NAME@VERSION/            a trained model (twinveil.network.folder); for the owner's eyes only
    STATE/released/NAME@VERSION.json      what users may know: plan, card, engines, policy, key fingerprint

A running service reads the records at every question: a model published by another process is there at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinveil.errors import BadInput, TwinveilError, UnknownModel
from twinveil.files import private_folder, replacing
from twinveil.network.card import ModelCard, check_name, is_model_place
from twinveil.network.folder import version_order
from twinveil.network.plan import Plan
from twinveil.rpc.catalogue_pb2 import GetModelReply
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.values import read_json
from twinveil.wording import outsource_again


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that both clouds hold, as users may know it.

    fingerprint: hex, of the key it went out under; import_id: by which both clouds know what they hold, empty
    in a record of an earlier version, whose model they cannot use any more.
    """

    name: str
    version: str
    plan: Plan
    card: ModelCard
    engines: tuple[str, ...]
    label_only: bool
    fingerprint: str
    import_id: bytes

    @property
    def trouble(self) -> str:
        """Why users cannot be told of it, or empty."""
        if self.import_id:
            return ""
        return (
            f"model {self.name} {self.version} was outsourced by an earlier version of Twinveil: "
            f"{outsource_again(f'{self.name}@{self.version}')}"
        )

    def entry(self) -> ModelEntry:
        if self.trouble:
            return ModelEntry(model=self.name, version=self.version, trouble=self.trouble)
        return ModelEntry(
            model=self.name,
            version=self.version,
            plan_hash=self.plan.hash,
            engines=self.engines,
            label_only=self.label_only,
        )

    def to_json(self) -> str:
        return json.dumps(
            {
                "name": self.name,
                "version": self.version,
                "plan": self.plan.to_json(),
                "card": self.card.to_json(),
                "engines": self.engines,
                "label_only": self.label_only,
                "fingerprint": self.fingerprint,
                "import_id": self.import_id.hex(),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> CatalogueEntry:
        """Raises BadInput for anything that to_json has not written."""
        try:
            data: Mapping[str, Any] = read_json(text)
            entry = cls(
                data["name"],
                data["version"],
                Plan.from_json(data["plan"]),
                ModelCard.from_json(data["card"]),
                tuple(data["engines"]),
                bool(data["label_only"]),
                data["fingerprint"],
                bytes.fromhex(data.get("import_id", "")),
            )
            bytes.fromhex(entry.fingerprint)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(f"not a catalogue entry: {type(error).__name__}") from None
        check_name(entry.name, entry.version)
        return entry


class CatalogueFile:
    """The records below one folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "released"

    def all(self) -> list[CatalogueEntry]:
        """Every published model, by name, newest version last.

        A record that cannot be read is none, nor is one in another's place: a copy outlives the removal.
        """
        found = []
        for path in self._folder.glob("*.json"):
            try:
                entry = CatalogueEntry.from_json(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, TwinveilError):
                continue
            if is_model_place(path.with_suffix("")) and path == self._path(entry.name, entry.version):
                found.append(entry)
        return sorted(found, key=lambda each: (each.name, version_order(each.version)))

    def find(self, name: str, version: str = "") -> CatalogueEntry:
        """version may be empty: the newest. Raises UnknownModel, naming the models that there are."""
        entries = self.all()
        for each in reversed(entries):
            if each.name == name and version in ("", each.version):
                return each
        there = ", ".join(f"{each.name} {each.version}" for each in entries) or "none"
        raise UnknownModel(f"the owner offers no model {name} {version}".rstrip() + f" (models: {there})")

    @contextmanager
    def adding(self, entry: CatalogueEntry) -> Iterator[None]:
        """Users are told of it once the block has ended well; there is room for its record before it begins.

        Replaces an older record of the same name and version.
        """
        private_folder(self._folder)
        with replacing(self._path(entry.name, entry.version)) as file:
            file.write(entry.to_json().encode())
            file.flush()
            yield

    def remove(self, name: str, version: str) -> bool:
        """Whether there was one."""
        path = self._path(name, version)
        there = path.is_file()
        path.unlink(missing_ok=True)
        return there

    def _path(self, name: str, version: str) -> Path:
        check_name(name, version)
        return self._folder / f"{name}@{version}.json"


class Catalogue:
    """A CatalogueHandler."""

    def __init__(self, file: CatalogueFile) -> None:
        self._file = file

    def list_models(self) -> Sequence[ModelEntry]:
        return [each.entry() for each in self._file.all()]

    def get_model(self, model: str, version: str) -> GetModelReply:
        found = self._file.find(model, version)
        if found.trouble:
            raise UnknownModel(found.trouble)
        return GetModelReply(
            entry=found.entry(),
            plan_json=found.plan.to_json(),
            card_json=found.card.to_json(),
            key_fingerprint=bytes.fromhex(found.fingerprint),
            import_id=found.import_id,
        )
