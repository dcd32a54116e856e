"""Trains what sealing needs and writes it to one folder: variational, adversarial and recogniser.

faces -> cleaned -> split by person -> trained -> quantised -> measured in integers -> network.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from owner.sealing.faces import load_faces, split
from owner.sealing.samples import clean
from owner.sealing.train_adversarial import train_adversarial
from owner.sealing.train_recogniser import train_recogniser
from owner.sealing.train_variational import train_variational
from owner.sealing.training import Options
from twinveil.errors import BadInput
from twinveil.sealing.factors import Form
from twinveil.sealing.network_files import save_network
from twinveil.values import check_word
from twinveil.wording import Telling

What = Literal["variational", "adversarial", "recogniser"]
EVERYTHING: tuple[What, ...] = ("variational", "adversarial", "recogniser")


def train_sealing(
    folder: Path,
    data: str,
    what: Sequence[What],
    options: Options,
    form: Form,
    report: Callable[[What], Telling],
) -> dict[str, Any]:
    """Trains and writes FOLDER/NAME for each; gives their facts by name. Raises BadInput."""
    if not what:
        raise BadInput(f"say what to train: {', '.join(EVERYTHING)}")
    for each in what:
        check_word("what to train", each, What)
    check_word("form", form, Form)
    parts = split(load_faces(data))
    cleaned = clean(parts.train)
    parts = replace(parts, train=cleaned.faces)
    facts = {
        "data_set": data,
        "training_pictures": len(cleaned.faces.people),
        "removed_pictures": cleaned.removed,
    }
    found: dict[str, Any] = {}
    for each in what:
        match each:
            case "variational":
                network = train_variational(parts, options, facts, report(each))
            case "adversarial":
                network = train_adversarial(parts, options, facts, report(each), form)
            case "recogniser":
                network = train_recogniser(parts, options, facts, report(each))
        save_network(folder / each, network)
        found[each] = {"digest": network.digest.hex(), **network.facts}
    return found
