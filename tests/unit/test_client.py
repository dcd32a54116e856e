"""The user's client as a Python program meets it, without anybody to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import random_model
from tests.system.town import stored
from twinveil.errors import BadInput
from twinveil.net.both import Report
from twinveil.net.channel import Me
from twinveil.params import MAX_PICTURES
from user.client import BATCH, Client, Model
from user.contact import Contact

NOBODY = Contact(Me("user", "alice", None), "", "", "", Path("pin"))


@pytest.mark.parametrize("batch", [-1, 0, MAX_PICTURES + 1])
def test_what_the_clouds_would_refuse_is_refused_before_anybody_is_asked(batch: int) -> None:
    assert 1 <= BATCH <= MAX_PICTURES
    with pytest.raises(BadInput, match=rf"^a query has 1 to {MAX_PICTURES} pictures, not {batch}$"):
        Client(NOBODY).classify(["7.png"], "mnist", batch=batch)


@pytest.mark.parametrize(
    ("count", "options", "groups"),
    [
        (1, {}, [""]),
        (3, {}, ["1 to 3 of 3: "]),
        (9, {}, ["1 to 4 of 9: ", "5 to 8 of 9: ", "9 to 9 of 9: "]),
        (3, {"batch": 2}, ["1 to 2 of 3: ", "3 to 3 of 3: "]),
        (2, {"engine": "textbook"}, ["1 to 1 of 2: ", "2 to 2 of 2: "]),
    ],
)
def test_progress_names_the_pictures_of_the_query_at_work(
    monkeypatch: pytest.MonkeyPatch, count: int, options: dict[str, Any], groups: list[str]
) -> None:
    def query(_: Client, group: Any, model: Model, label_only: bool, engine: str, report: Report) -> Any:
        report(0, 9, "stem7_conv")
        return [int(picture.flat[0]) for picture in group]

    model = random_model(1)
    found = Model("mnist", "1", model.plan, stored(model).card, label_only=False)
    monkeypatch.setattr(Client, "model", lambda *_: found)
    monkeypatch.setattr(Client, "_query", query)
    pictures = [np.full(model.plan.image_shape, number, np.uint8) for number in range(count)]
    told: list[tuple[int, int, str]] = []
    made = Client(NOBODY).classify(pictures, "mnist", report=lambda *each: told.append(each), **options)
    assert made == list(range(count))
    wanted = [((0, 0, f"{which}blinding"), (0, 9, f"{which}stem7_conv")) for which in groups]
    assert told == [each for pair in wanted for each in pair]
