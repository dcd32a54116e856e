"""The user's client as a Python program meets it, without anybody to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import user.client
from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model, small_icnn_model
from tests.system.town import stored
from twinveil.errors import BadInput, InvalidMessage, PeerMismatch
from twinveil.params import MAX_PICTURES
from twinveil.rpc.catalogue_pb2 import GetModelReply
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.services.keys import KnownKey
from twinveil.transport.channel import Me
from twinveil.wording import Telling, one_line
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
    def query(_: Client, group: Any, model: Model, label_only: bool, engine: str, report: Telling) -> Any:
        report(0, 9, "stem7_conv")
        return SimpleNamespace(read=lambda model: [int(picture.flat[0]) for picture in group])

    model = random_model(1)
    found = Model("mnist", "1", bytes(16), model.plan, stored(model).card, label_only=False)
    monkeypatch.setattr(Client, "model", lambda *_: found)
    monkeypatch.setattr(Client, "_query", query)
    pictures = [np.full(model.plan.image_shape, number, np.uint8) for number in range(count)]
    told: list[tuple[int, int, str]] = []
    made = Client(NOBODY).classify(pictures, "mnist", report=lambda *each: told.append(each), **options)
    assert made == list(range(count))
    wanted = [((0, 0, f"{which}asking both clouds"), (0, 9, f"{which}stem7_conv")) for which in groups]
    assert told == [each for pair in wanted for each in pair]


MODEL = small_icnn_model(1)
PLAN, CARD = MODEL.plan, stored(MODEL).card
CLASSES = PLAN.output.out_features
KEY = secret_key(512).public_key


class Owner:
    """A catalogue that says what it is told to, and clouds whose answer is a class of the test's choice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reply = GetModelReply(
            entry=ModelEntry(model="mnist", version="1", plan_hash=PLAN.hash),
            plan_json=PLAN.to_json(),
            card_json=CARD.to_json(),
            import_id=bytes(16),
        )
        self.labels: Iterator[int] = iter(())
        self.asked: list[Sequence[QueryHalf]] = []
        monkeypatch.setattr(user.client, "get_model", lambda *_: self.reply)
        monkeypatch.setattr(user.client, "classify_at_both", self._answer)
        contact = Contact(
            Me("user", "alice", None), "", "", "", KnownKey(Path("pin"), insecure_small_key=True)
        )
        self.client = Client(contact)
        link: Any = SimpleNamespace(channel=None, peer="owner")
        self.client._owner = self.client._s1 = self.client._s2 = link
        self.client._fingerprint = KEY.fingerprint

    def _answer(self, links: Any, requests: Sequence[QueryHalf], *_: Any) -> tuple[AnswerHalf, AnswerHalf]:
        self.asked.append(requests)
        return AnswerHalf(half=bytes(4)), AnswerHalf(half=next(self.labels).to_bytes(4, "big"))

    def classify(self, *labels: int) -> list[str]:
        """One query a label, which is what the clouds answer."""
        self.labels = iter(labels)
        pictures = [np.zeros(PLAN.image_shape, np.uint8)] * len(labels)
        made = self.client.classify(pictures, "mnist", label_only=True, batch=1)
        return [each.class_name for each in made]


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    return Owner(monkeypatch)


def with_names(*names: object) -> dict[str, object]:
    return {"class_names": list(names)}


NAMES = [f"class {index}" for index in range(CLASSES)]
HOSTILE: dict[str, dict[str, object]] = {
    "too few names": with_names(*NAMES[:-1]),
    "too many names": with_names(*NAMES, "more"),
    "no names": with_names(),
    "names as one text": {"class_names": "abcdefghijklmnop"[:CLASSES]},
    "a number": with_names(*NAMES[:-1], 7),
    "no name": with_names(*NAMES[:-1], None),
    "a list": with_names(*NAMES[:-1], ["x"]),
    "an empty name": with_names(*NAMES[:-1], ""),
    "one name twice": with_names(*NAMES[:-1], NAMES[0]),
    "a surrogate": with_names(*NAMES[:-1], "\ud800"),
    "an escape sequence": with_names(*NAMES[:-1], "\x1b[2J"),
    "a C1 control": with_names(*NAMES[:-1], "\x9b2J"),
    "the direction of writing": with_names(*NAMES[:-1], "\u202egnp.7"),
    "two lines": with_names(*NAMES[:-1], "a\nb"),
    "a long name": with_names(*NAMES[:-1], "a" * 256),
    "another shape": {"image_shape": [1, 9, 9]},
    "another plan": {"plan_hash": "0" * 64},
    "no digest": {"plan_hash": "[/x]"},
    "an unknown polarity": {"polarity": ["any"]},
    "a mask that is none": {"mask": "\x1b"},
    "a set's name": {"data_set": "\x1b]0;x\x07"},
    "a crop": {"crop": "\udcff"},
    "a version": {"twinveil_version": "\r"},
    "more fields": {"more": 1},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=list(HOSTILE))
def test_a_card_that_could_not_name_some_class_ends_it_before_any_query(
    owner: Owner, change: dict[str, object]
) -> None:
    owner.reply.card_json = json.dumps(json.loads(CARD.to_json()) | change)
    with pytest.raises(
        PeerMismatch, match=r"^what the owner says of model mnist cannot be used: "
    ) as refused:
        owner.classify(*range(CLASSES))
    assert not owner.asked
    assert one_line(str(refused.value)) == str(refused.value)


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"version": "2"}, {"plan_hash": bytes(32)}, {"model": "\x1b"}], ids=str
)
def test_an_owner_that_tells_of_another_model_is_refused(owner: Owner, change: dict[str, Any]) -> None:
    for field, value in change.items():
        setattr(owner.reply.entry, field, value)
    with pytest.raises(PeerMismatch):
        owner.client.model("mnist", "1")


def test_an_owner_that_names_no_import_or_another_key_is_refused(owner: Owner) -> None:
    owner.reply.key_fingerprint = bytes.fromhex(KEY.fingerprint)
    assert owner.client.model("mnist").import_id == bytes(16)
    for change, message in (
        ({"import_id": b""}, "does not say which import of model mnist the clouds hold"),
        ({"key_fingerprint": bytes(32)}, "have pinned different keys of cloud_s2"),
    ):
        told = GetModelReply()
        told.CopyFrom(owner.reply)
        for field, value in change.items():
            setattr(owner.reply, field, value)
        with pytest.raises(PeerMismatch, match=message):
            owner.client.model("mnist", "1")
        owner.reply = told


def test_the_packed_engine_gets_xor_halves_and_no_key_is_fetched(owner: Owner) -> None:
    owner.reply.import_id = bytes(range(16))
    pictures = np.random.default_rng(1).integers(0, 256, (2, *PLAN.image_shape), np.uint8)
    owner.labels = iter([0])
    with pytest.raises(InvalidMessage, match="an answer's half has 4 bytes"):
        owner.client.classify(pictures, "mnist", label_only=True)
    [(mine, theirs)] = owner.asked
    assert mine.import_id == theirs.import_id == bytes(range(16))
    assert mine.query_id == theirs.query_id
    assert PLAN.image_bits == 8
    assert bytes(a ^ b for a, b in zip(mine.half, theirs.half, strict=True)) == pictures.tobytes()
    assert len({mine.half, theirs.half, bytes(pictures.size)}) == 3
    with pytest.raises(AttributeError):  # there is no channel here to ask for one
        owner.client.classify(pictures, "mnist", engine="textbook")


def test_a_refusal_makes_the_client_ask_the_owner_anew(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model may have been replaced, and another import been told of."""
    assert owner.classify(0) == ["class 0"]
    owner.reply.import_id = bytes(range(16))

    def refused(*_: Any) -> None:
        raise PeerMismatch("the model was replaced")

    with monkeypatch.context() as patched:
        patched.setattr(user.client, "classify_at_both", refused)
        with pytest.raises(PeerMismatch):
            owner.classify(0)
    owner.classify(0)
    assert [half.import_id for half in owner.asked[-1]] == [bytes(range(16))] * 2


def test_a_name_that_no_model_has_is_not_asked_for(owner: Owner) -> None:
    for name, version in (("m\udcffnist", ""), ("mnist", "\udcff")):
        with pytest.raises(BadInput, match=r"^a model's "):
            owner.client.model(name, version)


@pytest.mark.parametrize("label", range(CLASSES))
def test_whatever_the_class_all_queries_are_sent_and_named(owner: Owner, label: int) -> None:
    names = [f"[/x] {index}[bold]" for index in range(CLASSES)]
    owner.reply.card_json = json.dumps(json.loads(CARD.to_json()) | {"class_names": names})
    assert owner.classify(label, 0, label) == [names[label], names[0], names[label]]
    assert len(owner.asked) == 3


def test_what_an_answer_is_worth_shows_only_after_the_last_query(owner: Owner) -> None:
    with pytest.raises(InvalidMessage, match="do not belong together"):
        owner.classify(CLASSES, 0, 1)
    assert len(owner.asked) == 3
