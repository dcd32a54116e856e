"""What a selection leaves in the study's folder.

FOLDER/selection.json          every number: settings, rules, both tables, all masks, what training took
FOLDER/targets/NAME.png        target masks by the published order
FOLDER/targets-simple/NAME.png     and by the simpler rule
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from owner.masks.study import Study
from owner.masks.tables import Selection
from twinveil.errors import BadInput
from twinveil.net.files import replace

Rule = Literal["published", "simple"]

NAME = "selection.json"
PLACES: dict[Rule, str] = {"published": "targets", "simple": "targets-simple"}


@dataclass(frozen=True, slots=True)
class Known:
    """What recognition needs to know of a selection. accuracy: third, in per cent, by digest."""

    accuracy: dict[str, float]
    targets: dict[Rule, tuple[str, ...]]
    notes: tuple[str, ...]


def write_results(study: Study, selection: Selection) -> Path:
    """selection.json and the target masks; what an earlier selection left is replaced. Raises BadInput."""
    masks = {mask.name: mask for mask in study.masks}
    chosen: dict[Rule, tuple[str, ...]] = {
        "published": selection.targets,
        "simple": selection.simple_targets,
    }
    data = study.data
    content = {
        "study": asdict(study.settings),
        "pictures": {
            "data_set": data.name,
            "training": len(data.train),
            "test": len(data.held_out),
            "classes": len(data.class_names),
        },
        "training_seconds": study.seconds(),
        "selection": asdict(selection),
    }
    path = study.folder / NAME
    try:
        for rule, names in chosen.items():
            place = study.folder / PLACES[rule]
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in names:
                replace(place / f"{name}.png", masks[name].to_png(), 0o644)
        replace(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(), 0o644)
    except OSError as error:
        raise BadInput(f"{study.folder} cannot be written: {error.strerror or error}") from None
    return path


def read_known(folder: Path) -> Known:
    """Raises BadInput if nothing has been selected yet."""
    try:
        selection: dict[str, Any] = json.loads((folder / NAME).read_text())["selection"]
        return Known(
            {row["digest"]: float(row["third"]["mean"]) for row in selection["masks"]},
            {
                "published": tuple(selection["targets"]),
                "simple": tuple(selection["simple_targets"]),
            },
            tuple(selection["notes"]),
        )
    except FileNotFoundError:
        raise BadInput(f"{folder} has no selection: run twinveil mask select") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{folder / NAME} cannot be read: {type(error).__name__}") from None
