"""What a selection leaves in the study's folder.

FOLDER/selection.json          every number: settings, rules, both tables, all masks, what training took
FOLDER/targets/NAME.png        target masks by the published order
FOLDER/targets-simple/NAME.png     by the simpler rule
FOLDER/nearest/NAME.png            the judged candidate that loses most by repair, be it a target or not
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from owner.masks.study import Study
from owner.masks.tables import Rule, Selection
from twinveil.errors import BadInput
from twinveil.files import replace, replacing_folder
from twinveil.values import read_json, real

NAME = "selection.json"
PLACES: dict[Rule, str] = {"published": "targets", "simple": "targets-simple", "nearest": "nearest"}


@dataclass(frozen=True, slots=True)
class Known:
    """What recognition needs to know of a selection. accuracy: third, in per cent, by digest.

    selected: names, by rule; empty: why a rule has selected nothing.
    """

    accuracy: dict[str, float]
    selected: dict[Rule, tuple[str, ...]]
    empty: dict[Rule, str]


def write_results(study: Study, selection: Selection) -> Path:
    """selection.json and the target masks; what an earlier selection left is replaced. Raises BadInput."""
    masks = {mask.name: mask for mask in study.masks}
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
        for rule, name in PLACES.items():
            with replacing_folder(study.folder / name) as place:
                for mask in selection.of(rule):
                    replace(place / f"{mask}.png", masks[mask].to_png())
        replace(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise BadInput(f"{study.folder} cannot be written: {error.strerror or error}") from None
    return path


def read_known(folder: Path) -> Known:
    """Raises BadInput if nothing has been selected yet."""
    try:
        selection: dict[str, Any] = read_json((folder / NAME).read_text(encoding="utf-8"))["selection"]
        return Known(
            {row["digest"]: real(row["third"]["mean"]) for row in selection["masks"]},
            {
                "published": tuple(selection["targets"]),
                "simple": tuple(selection["simple_targets"]),
                "nearest": tuple(selection["nearest"]),
            },
            dict(selection["empty"]),
        )
    except FileNotFoundError:
        raise BadInput(f"{folder} has no selection: run twinveil mask select") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{folder / NAME} cannot be read ({type(error).__name__}): run twinveil mask select again"
        ) from None
