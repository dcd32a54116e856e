"""Classification as a Python call: the picture is cropped and cut in two here, each cloud gets one half.

    [result] = user.classify(["digit.png"], "mnist", cluster=".twinveil/local")
    result.class_name, result.vector

Only this side ever holds the picture, the class vector or the label in the clear.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from twinveil.crypto.public_key import PublicKey
from twinveil.errors import BadConfiguration, BadImage, BadInput, PeerMismatch, TwinveilError
from twinveil.halves import answers
from twinveil.halves.integers import blind_pictures
from twinveil.halves.ring import share_pictures
from twinveil.network.card import ModelCard, check_name
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES, Engine
from twinveil.pictures.files import Invert, Picture, Source, load_picture, several
from twinveil.pictures.masks import Mask, mask_for
from twinveil.rpc.catalogue_pb2 import GetModelReply
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.services.catalogue import get_model
from twinveil.services.inference import classify_at_both
from twinveil.transport.channel import connect
from twinveil.values import check_truth, check_word, read_json
from twinveil.version import PROTOCOL_VERSION
from twinveil.wording import Telling
from user.contact import Contact

DEADLINE = 3600.0
CATALOGUE_DEADLINE = 20.0
IMPORT_ID_BYTES = 16
BATCH = 4
"""Pictures that share a query's messages. Each takes an item; where none is ready, two are made at a time."""


@dataclass(frozen=True)
class Model:
    """What the owner publishes of a model. import_id: by which both clouds know it."""

    name: str
    version: str
    import_id: bytes
    plan: Plan
    card: ModelCard
    label_only: bool


@dataclass(frozen=True)
class Classification:
    """One picture's answer.

    vector: integers of the fixed-point network, scores the same in its own units; both empty for label_only.
    seconds: from the request to the answer, of the whole query; bytes: the user's own traffic, both ways;
    figures: what the query cost each cloud, by function. The last three are shared by a query's pictures.
    """

    label: int
    class_name: str
    vector: tuple[int, ...]
    scores: tuple[float, ...]
    seconds: float
    bytes: int
    figures: Mapping[str, Mapping[str, Any]]


class Client:
    """Connections to the owner and both clouds; which key S2 has is pinned at the first contact."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._open = ExitStack()
        self._models: dict[tuple[str, str], Model] = {}
        self._key: PublicKey | None = None

    def __enter__(self) -> Self:
        contact = self._contact
        with ExitStack() as stack:
            self._owner, self._s1, self._s2 = (
                stack.enter_context(connect(contact.me, role, address, contact.wait))
                for role, address in (
                    ("owner", contact.owner),
                    ("cloud_s1", contact.cloud_s1),
                    ("cloud_s2", contact.cloud_s2),
                )
            )
            self._fingerprint = contact.s2_key.meet(self._s2.status.key_fingerprint)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def key(self) -> PublicKey:
        """S2's: of use to the textbook engine only."""
        if self._key is None:
            self._key = self._contact.s2_key.fetch(self._s2.channel)
        return self._key

    def model(self, name: str, version: str = "") -> Model:
        """Plan and card from the owner.

        Raises PeerMismatch if the owner pins another key than this user or contradicts itself.
        """
        check_name(name, version or "1")
        if (name, version) not in self._models:
            reply = get_model(self._owner, name, version, CATALOGUE_DEADLINE)
            if reply.key_fingerprint and reply.key_fingerprint.hex() != self._fingerprint:
                raise PeerMismatch("the owner and this user have pinned different keys of cloud_s2")
            self._models[name, version] = _published(reply, name, version)
        return self._models[name, version]

    def classify(
        self,
        sources: Source | Iterable[Source],
        model: str,
        version: str = "",
        *,
        label_only: bool = False,
        engine: Engine = "packed",
        invert: Invert = "auto",
        mask: str | Path | bytes | Mask | None = None,
        batch: int = BATCH,
        report: Telling = lambda done, stages, label: None,
    ) -> list[Classification]:
        """One Classification for each source, in order; up to `batch` pictures share a query.

        mask: the one that the model's card names; pictures are covered with it before they are blinded.
        report: told how far the query at work is and, of several pictures, which ones it has.
        Every picture is read and cropped before the first is sent: a bad file costs no query. No answer is
        looked at before all are there: which queries the clouds see never depends on what one of them gave.
        Raises BadInput for options that are none, such as a batch that is not from 1 to MAX_PICTURES.
        """
        check_truth("label_only", label_only)
        check_word("engine", engine, Engine)
        check_word("invert", invert, Invert)
        if type(batch) is not int or not 1 <= batch <= MAX_PICTURES:
            raise BadInput(f"a query has 1 to {MAX_PICTURES} pictures, not {batch}")
        found = self.model(model, version)
        covering = mask_for(found.card, mask)
        pictures = [self.read(source, found, invert) for source in several(sources)]
        if covering is not None:
            pictures = [covering.cover(picture) for picture in pictures]
        if engine == "textbook":
            batch = 1
        taken: list[_Answer] = []
        for start in range(0, len(pictures), batch):
            group = np.stack(pictures[start : start + batch])
            told = _of_group(report, start, len(group), len(pictures))
            told(0, 0, "asking both clouds")
            taken.append(self._query(group, found, label_only or found.label_only, engine, told))
        return [made for answer in taken for made in answer.read(found)]

    def read(self, source: str | Path | bytes | Picture, model: Model, invert: Invert = "auto") -> Picture:
        """A picture as the model wants it, (channels, height, width)."""
        if isinstance(source, np.ndarray):
            if source.shape != model.plan.image_shape or source.dtype != np.uint8:
                raise BadImage(f"a picture as an array must be uint8 of shape {model.plan.image_shape}")
            return source
        return load_picture(source, model.card.picture, invert)

    def _halves(self, pictures: npt.NDArray[np.uint8], plan: Plan, engine: str) -> tuple[bytes, bytes]:
        if engine == "packed":
            return share_pictures(pictures, plan)
        return blind_pictures(pictures, plan, self._contact.s2_key.params(self.key), self.key.n)

    def _query(
        self, pictures: npt.NDArray[np.uint8], model: Model, label_only: bool, engine: str, report: Telling
    ) -> _Answer:
        plan, count = model.plan, len(pictures)
        started = time.perf_counter()
        halves = self._halves(pictures, plan, engine)
        query_id = secrets.token_bytes(16)
        requests = [
            QueryHalf(
                protocol_version=PROTOCOL_VERSION,
                query_id=query_id,
                model=model.name,
                version=model.version,
                plan_hash=plan.hash,
                engine=engine,
                label_only=label_only,
                pictures=count,
                half=half,
                import_id=model.import_id,
            )
            for half in halves
        ]
        try:
            first, second = classify_at_both((self._s1, self._s2), requests, DEADLINE, report)
        except TwinveilError:
            self._models.clear()  # the owner may have replaced the model
            raise
        seconds = time.perf_counter() - started
        traffic = sum(message.ByteSize() for message in (*requests, first, second))
        return _Answer(first, second, count, label_only, seconds, traffic)


@dataclass(frozen=True)
class _Answer:
    """Both halves of a query's answer, not joined yet, and what it cost."""

    first: AnswerHalf
    second: AnswerHalf
    pictures: int
    label_only: bool
    seconds: float
    bytes: int

    def read(self, model: Model) -> list[Classification]:
        plan, names, halves = model.plan, model.card.class_names, (self.first.half, self.second.half)
        if self.label_only:
            labels = answers.labels(*halves, plan, self.pictures)
            vectors = np.zeros((self.pictures, 0), np.int64)
        else:
            vectors = answers.class_vectors(*halves, plan, self.pictures)
            labels = vectors.argmax(axis=1)  # numpy's argmax, too, takes the lowest index of equals
        scale = float(1 << plan.fraction_bits)
        figures = {"cloud_s1": _figures(self.first), "cloud_s2": _figures(self.second)}
        return [
            Classification(
                int(label),
                names[int(label)],
                tuple(int(v) for v in vector),
                tuple(float(v) / scale for v in vector),
                self.seconds,
                self.bytes,
                figures,
            )
            for label, vector in zip(labels, vectors, strict=True)
        ]


def classify(
    sources: Source | Iterable[Source],
    model: str,
    version: str = "",
    *,
    contact: Contact | None = None,
    cluster: str | Path | None = None,
    **options: Any,
) -> list[Classification]:
    """One call with its own connections; options as Client.classify takes them.

    contact: where the others are; without it, `cluster`, the folder of a local one, or the environment tells.
    Raises BadConfiguration for both.
    """
    if contact is not None and cluster is not None:
        raise BadConfiguration("give either contact or cluster: each says where the others are")
    with Client(contact or Contact.configured(cluster)) as client:
        return client.classify(sources, model, version, **options)


def _published(reply: GetModelReply, name: str, version: str) -> Model:
    """A model as the owner tells of it, once every part of that fits every other."""
    entry = reply.entry
    try:
        check_name(entry.model, entry.version)
        plan, card = Plan.from_json(reply.plan_json), ModelCard.from_json(reply.card_json)
        card.check_plan(plan)
    except BadInput as error:
        raise PeerMismatch(f"what the owner says of model {name} cannot be used: {error}") from None
    if entry.model != name or version not in ("", entry.version) or entry.plan_hash != plan.hash:
        raise PeerMismatch(f"asked for model {name} {version}".rstrip() + ", the owner told of another one")
    if len(reply.import_id) != IMPORT_ID_BYTES:
        raise PeerMismatch(f"the owner does not say which import of model {name} the clouds hold")
    return Model(entry.model, entry.version, reply.import_id, plan, card, entry.label_only)


def _of_group(report: Telling, start: int, size: int, count: int) -> Telling:
    """Names the pictures of the query at work, if there are others than one."""
    which = f"{start + 1} to {start + size} of {count}: " if count > 1 else ""
    return lambda done, stages, label: report(done, stages, which + label)


def _figures(answer: AnswerHalf) -> dict[str, Any]:
    try:
        figures = read_json(answer.figures_json or "{}")
    except (ValueError, RecursionError):
        raise BadInput("a cloud's figures cannot be read") from None
    return figures if isinstance(figures, dict) else {}
