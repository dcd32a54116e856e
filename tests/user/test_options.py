"""Python calls: a typo in an option is refused, not taken for another word; one picture is one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import user
from owner.audit.subjects import split
from owner.masks.recognition import Recognition
from owner.outsource import Offer
from owner.sealing.train import train_sealing
from owner.sealing.training import Options
from owner.training.datasets import DataSet, load_data_set
from tests.networks import random_model
from tests.system.town import stored
from twinveil.errors import BadConfiguration, BadInput
from twinveil.network.card import PictureSpec
from twinveil.pictures.files import load_picture
from twinveil.transport.channel import Me
from user.gateway import Gateway, Picture

NOBODY = user.Contact(Me("user", "alice", None), "", "", "", Path("pin"))
GREY = np.zeros((1, 8, 8), np.uint8)
DATA = DataSet("faces", GREY[None], np.zeros(1, np.int64), GREY[None], np.zeros(1, np.int64), ("a",), "any")


def classify(**options: Any) -> object:
    return user.Client(NOBODY).classify([GREY], "mnist", **options)


def sealing(**options: Any) -> object:
    wanted = {"what": ("recogniser",), "form": "rows"} | options
    return train_sealing(Path(), "", options=Options(), report=lambda _: lambda *__: None, **wanted)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classify(invert=True), "invert must be one of auto, never, always, not True"),
        (lambda: classify(invert="Auto"), "invert must be one of auto, never, always, not 'Auto'"),
        (lambda: classify(engine="paked"), "engine must be one of packed, textbook, not 'paked'"),
        (lambda: classify(label_only="no"), "label_only must be True or False, not 'no'"),
        (lambda: classify(batch=2.5), "a query has 1 to 16 pictures, not 2.5"),
        (lambda: classify(batch=True), "a query has 1 to 16 pictures, not True"),
        (lambda: load_picture(b"", PictureSpec((1, 8, 8), "dark")), "polarity must be one of"),
        (lambda: load_data_set(".", polarity="light"), "polarity must be one of light-on-dark, "),
        (lambda: Offer("m", "1", ("paked",)), "engine must be one of packed, textbook, not 'paked'"),
        (lambda: Offer("m", "1", "packed"), "engines are several words, such as ('packed',)"),
        (lambda: Offer("m", "1", label_only="no"), "label_only must be True or False, not 'no'"),
        (lambda: split(DATA, 1, "persons"), "split by must be one of person, picture, not 'persons'"),
        (lambda: Recognition.load(".", rule="simpel"), "rule must be one of published, simple, nearest"),
        (lambda: Recognition(None, (), (), None).recognise(GREY, "any"), "choose must be one of accurate,"),
        (lambda: sealing(what=("recognizer",)), "what to train must be one of variational, "),
        (lambda: sealing(form="row"), "form must be one of rows, rank, "),
        (
            lambda: next(Gateway(NOBODY).classify(Picture(engine="paked"), None)),
            "engine must be one of packed, textbook, not 'paked'",
        ),
        (
            lambda: user.classify([GREY], "mnist", contact=NOBODY, cluster="."),
            "give either contact or cluster: each says where the others are",
        ),
    ],
)
def test_words_that_are_none_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(BadInput) as refused:
        call()
    assert str(refused.value).startswith(message)


def test_the_refusal_of_two_contacts_is_of_the_configuration() -> None:
    with pytest.raises(BadConfiguration):
        user.classify([], "mnist", contact=NOBODY, cluster=".")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    Image.fromarray(GREY[0]).save(path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], int]:
    """How many pictures the clouds would be asked about."""
    model = random_model(1)
    found = user.Model("mnist", "1", bytes(16), model.plan, stored(model).card, label_only=False)
    monkeypatch.setattr(user.Client, "model", lambda *_: found)
    monkeypatch.setattr(
        user.Client, "_query", lambda self, group, *_: SimpleNamespace(read=lambda model: list(group))
    )
    return lambda sources: len(user.Client(NOBODY).classify(sources, "mnist"))


class Elsewhere(PathLike[str]):
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_one_picture_is_one(asked: Callable[[Any], int], picture: Path) -> None:
    array = np.zeros(random_model(1).plan.image_shape, np.uint8)
    for one in (picture, str(picture), Elsewhere(picture), picture.read_bytes(), array):
        assert asked(one) == 1
        assert asked([one, one]) == 2
    assert asked(np.stack([array] * 3)) == 3
    assert asked([]) == 0

    def generated() -> Iterator[Path]:
        yield picture
        yield picture

    assert asked(generated()) == 2


def test_what_is_no_picture_is_named(asked: Callable[[Any], int], tmp_path: Path) -> None:
    """0 was standard input."""
    for wrong in (0, None, 1.5):
        with pytest.raises(BadInput, match="a picture is a path, a file's content or an array, not "):
            asked([wrong])
    with pytest.raises(BadInput, match=rf"^{tmp_path} cannot be read: Is a directory$"):
        asked(str(tmp_path))


def test_recognition_takes_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recognition, "_recognise", lambda self, picture, mask: len(picture))
    recognition = Recognition(None, (None,), (), None)  # type: ignore[arg-type]
    assert recognition.recognise(GREY) == [1]
    assert recognition.recognise([GREY, GREY]) == [1, 1]
