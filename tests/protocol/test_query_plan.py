"""A query that no engine runs: both clouds and the estimate refuse it in the same words."""

from __future__ import annotations

import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model
from twinveil.errors import BadInput, TooMuch
from twinveil.estimate.query import estimate
from twinveil.protocol.meter import Meter
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.engines_s2 import query_s2
from twinveil.rehearsal.clouds import Clouds
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.scripted import Scripted
from twinveil.rpc import rounds_pb2 as pb

REFUSED = [
    ("preprocessed", 1, BadInput, "there is no engine 'preprocessed': use packed or textbook"),
    ("textbook", 2, BadInput, "the textbook engine classifies one picture at a time"),
    ("packed", 0, TooMuch, "a query has 1 to 16 pictures, not 0"),
    ("packed", 17, TooMuch, "a query has 1 to 16 pictures, not 17"),
]


@pytest.mark.parametrize(("engine", "pictures", "error", "text"), REFUSED)
def test_everyone_says_the_same(engine: str, pictures: int, error: type[Exception], text: str) -> None:
    clouds = Clouds(random_model(1), secret_key(512))

    def never(opening: pb.Round) -> None:
        raise AssertionError("S1 asked")

    def at_s1() -> None:
        query_s1(clouds.s1, clouds.import_id, engine, clouds.tools, MemoryPeer(Scripted(never)), pictures)

    def at_s2() -> None:
        digest = clouds.s2.layout.digest
        opening = pb.OpenQuery(import_id=clouds.import_id, layout=digest, engine=engine, pictures=pictures)
        own = (clouds.s2, clouds.secret, clouds.workers_s2, clouds.params)
        query_s2(opening, *own, never, False, Meter())

    def estimated() -> None:
        estimate(clouds.model.plan, clouds.params, engine, pictures=pictures)

    for ask in (at_s1, at_s2, estimated):
        with pytest.raises(error) as refused:
            ask()
        assert str(refused.value) == text
