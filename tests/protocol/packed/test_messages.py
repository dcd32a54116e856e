"""Every message that is not exactly what is due is refused, at S2 before it decrypts anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_image, small_icnn_model
from tests.protocol.packed.clouds import Meddle, Opened
from twinveil.errors import InvalidCiphertext, InvalidMessage, OutOfOrder
from twinveil.network.plan import QuantisedModel
from twinveil.rpc import rounds_pb2 as pb

REFUSED = (InvalidMessage, InvalidCiphertext)
Change = Callable[[Any, int], None]
"""Of a message's body; the second argument is N."""


@pytest.fixture(scope="module")
def model() -> QuantisedModel:
    return small_icnn_model(2, side=8)


@pytest.fixture(scope="module")
def imported(model: QuantisedModel) -> Opened:
    return Opened(model)


@pytest.fixture
def clouds(imported: Opened) -> Opened:
    return imported.anew()


def longer(field: str) -> Change:
    return lambda body, n: setattr(body, field, getattr(body, field) + b"0")


def shorter(field: str) -> Change:
    return lambda body, n: setattr(body, field, getattr(body, field)[:-1])


def first_ciphertext(value: Callable[[int], int]) -> Change:
    def change(body: Any, n: int) -> None:
        field = "kernels" if body.DESCRIPTOR.name == "SharedKernel" else "ciphertexts"
        size = -(-2 * n.bit_length() // 8)
        setattr(body, field, value(n).to_bytes(size, "big") + getattr(body, field)[size:])

    return change


def of_a_circuit(field: str, change: Callable[[str], Change]) -> Change:
    return lambda body, n: change(field)(body.circuits[1], n)


CIPHERTEXTS: dict[str, Change] = {
    "0": first_ciphertext(lambda n: 0),
    "N": first_ciphertext(lambda n: n),
    "N^2 and more": first_ciphertext(lambda n: n * n + 1),
}


def sizes(*fields: str) -> dict[str, Change]:
    made = {f"{field} too long": longer(field) for field in fields}
    return made | {f"{field} too short": shorter(field) for field in fields}


AHEAD: dict[str, dict[str, Change]] = {
    "item_inputs": sizes("ciphertexts", "extension") | CIPHERTEXTS,
    "item_offer": sizes("ciphertexts", "extension", "corrections")
    | CIPHERTEXTS
    | {"a circuit less": lambda body, n: body.circuits.pop() and None}
    | {"a circuit more": lambda body, n: body.circuits.append(body.circuits[0])}
    | {"pixels with tables": lambda body, n: setattr(body.circuits[0], "tables", b"0")}
    | {f"{field} too long": of_a_circuit(field, longer) for field in ("tables", "labels", "words")}
    | {f"{field} too short": of_a_circuit(field, shorter) for field in ("tables", "labels", "words")},
    "item_words": sizes("words"),
}
ONLINE: dict[str, dict[str, Change]] = {"shared_turn": sizes("shares"), "labels": sizes("labels")}
IMPORT: dict[str, dict[str, Change]] = {
    "import_opened": sizes("factors"),
    "masked_kernel": sizes("ciphertexts", "extension", "corrections") | CIPHERTEXTS,
    "shared_kernel": sizes("words", "kernels") | CIPHERTEXTS,
}


def cases(changes: dict[str, dict[str, Change]]) -> list[Any]:
    return [
        pytest.param(body, change, id=f"{body}: {what}")
        for body, each in changes.items()
        for what, change in each.items()
    ]


def meddling(name: str, change: Change, n: int) -> Meddle:
    """Changes every message of that name on its way."""

    def meddle(message: pb.Round) -> pb.Round:
        if message.WhichOneof("body") == name:
            change(getattr(message, name), n)
        return message

    return meddle


@pytest.mark.parametrize(("name", "change"), cases(AHEAD))
def test_of_an_item(clouds: Opened, name: str, change: Change) -> None:
    clouds.meddle = meddling(name, change, int(clouds.public.n))
    before = clouds.secret.operations
    with pytest.raises(REFUSED):
        clouds.make_items(1)
    assert name == "item_words" or clouds.secret.operations == before


@pytest.mark.parametrize(("name", "change"), cases(ONLINE))
def test_of_a_picture(model: QuantisedModel, clouds: Opened, name: str, change: Change) -> None:
    clouds.meddle = meddling(name, change, 0)
    with pytest.raises(InvalidMessage):
        clouds.classify(random_image(model.plan, 0)[None])


@pytest.mark.parametrize(("name", "change"), cases(IMPORT))
def test_of_an_import(model: QuantisedModel, name: str, change: Change) -> None:
    secret = secret_key(320)
    before = secret.operations
    with pytest.raises(REFUSED):
        Opened(model, 320, meddle=meddling(name, change, int(secret.public_key.n)))
    assert name == "shared_kernel" or secret.operations == before


def test_base_transfers_are_done_once(clouds: Opened) -> None:
    clouds.make_items(1)
    again = lambda body, n: setattr(body, "base_ot_reply", bytes(32 * 128))  # noqa: E731
    clouds.meddle = meddling("make_item", again, 0)
    with pytest.raises(OutOfOrder, match="with the first item"):
        clouds.make_items(1)


def test_a_turn_that_was_wrong_is_the_last(model: QuantisedModel, clouds: Opened) -> None:
    """At both clouds, whatever their conversation does: no stage is skipped."""
    clouds.classify(random_image(model.plan, 0)[None])
    for pictures in (*clouds.pictures_s1, *clouds.pictures_s2):
        pictures._next = 0
        for wrong, error in ((b"short", InvalidMessage), (b"", OutOfOrder)):
            with pytest.raises(error):
                pictures.answer(wrong)
        with pytest.raises(OutOfOrder, match="not at their end"):
            _ = pictures.result
