"""Items that lie ready: a burst finds them, whoever asks, and nobody waits for one that is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.town import pictures, small_model, stored, town, wait_until
from twinveil.network import oracle
from twinveil.services.inference import PREPARING
from user.client import Client

pytestmark = pytest.mark.system

ITEMS, USERS = 50, 5


def test_fifty_pictures_against_fifty_items(tmp_path: Path) -> None:
    """No query of five users waits for an item to be made; one picture more would."""
    model = small_model(4, grey=True)
    images, heard = pictures(model, ITEMS), list[str]()

    def ask(number: int) -> list[tuple[int, ...]]:
        own = images[number * ITEMS // USERS : (number + 1) * ITEMS // USERS]
        with Client(running.another_user(f"user{number}")) as client:
            made = client.classify(own, "m", batch=5, report=lambda done, all_, label: heard.append(label))
            return [each.vector for each in made]

    with town(tmp_path, prepare=ITEMS) as running, ThreadPoolExecutor(USERS) as pool:
        running.outsource(stored(model), "m")
        with running.client() as client:
            client.classify(images[:1], "m", report=lambda done, all_, label: heard.append(label))
        assert any(label.endswith(PREPARING) for label in heard)
        assert wait_until(lambda: running.status("cloud_s1").ready_items == ITEMS, 120)
        assert running.status("cloud_s2").ready_items == ITEMS
        assert running.models()["m", "1"].entry.ready == ITEMS
        heard.clear()
        answered = [vector for vectors in pool.map(ask, range(USERS)) for vector in vectors]
    assert answered == [tuple(int(each) for each in oracle.run(model, image)) for image in images]
    assert sum(label.endswith("computing") for label in heard) == ITEMS // 5
    assert not [label for label in heard if label.endswith(PREPARING)]
