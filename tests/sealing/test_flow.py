"""Paying: the next picture while it does not pass, a limit, a pause that grows, and three ways on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import typer
from PIL import Image

from owner.sealing.rig import FACE, face
from twinveil.errors import BadImage, BadInput
from twinveil.sealing.content import Order
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from user.sealing import verbs as cli
from user.sealing.captures import Camera, Pictures, listed
from user.sealing.flow import (
    ANOTHER,
    LIMIT,
    NO_MORE,
    REFUSED,
    UNUSABLE,
    WRONG_PASSWORD,
    Patience,
    PaymentStep,
    Result,
    pay,
    pay_by_password,
)
from user.sealing.orders import check_account_name, make_order
from user.sealing.session import Answer

RECEIPT = Receipt("0123", "alice", "bakery", 350, "EUR", "card", 0)
PASSED, ANOTHER_PICTURE, NO = (
    Answer(Outcome.PASSED, RECEIPT),
    Answer(Outcome.TRY_ANOTHER_PICTURE, None),
    Answer(Outcome.REFUSED, None),
)
ORDER = Order("bakery", 350)


class Scripted:
    """Answers in order; remembers what it was sent."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[bytes, bytes]] = []

    def send_picture(self, picture: bytes, account: str, order: Order) -> Answer:
        self.sent.append((picture, order.reference))
        return self.answers.pop(0)

    def send_password(self, password: str, account: str, order: Order) -> Answer:
        self.sent.append((password.encode(), order.reference))
        return self.answers.pop(0)


def run(
    sender: Scripted, pictures: int = 9, patience: Patience | None = None
) -> tuple[Result, list[PaymentStep], list[float]]:
    found: list[PaymentStep] = []
    slept: list[float] = []
    source = Pictures([face(FACE, shot) for shot in range(pictures)])
    return pay(sender, source, "alice", ORDER, patience, found.append, slept.append), found, slept


def test_the_first_picture_may_pass() -> None:
    sender = Scripted(PASSED)
    result, found, slept = run(sender)
    assert (result.receipt, result.attempts, slept) == (RECEIPT, 1, [0.0])
    assert [step.picture is not None for step in found] == [False, True]


def test_the_next_picture_is_tried_ever_later_for_the_same_order() -> None:
    sender = Scripted(ANOTHER_PICTURE, ANOTHER_PICTURE, ANOTHER_PICTURE, PASSED)
    result, found, slept = run(sender)
    assert (result.receipt, result.attempts) == (RECEIPT, 4)
    assert slept == [0.0, 0.5, 1.0, 2.0]
    assert len({picture for picture, _ in sender.sent}) == 4
    assert {reference for _, reference in sender.sent} == {ORDER.reference}
    assert found[2].text == ANOTHER


def test_pauses_have_a_longest() -> None:
    assert [Patience().before(attempt) for attempt in (1, 2, 6, 7, 60)] == [0.0, 0.5, 8.0, 8.0, 8.0]


def test_there_is_a_limit() -> None:
    result, _, _ = run(Scripted(*[ANOTHER_PICTURE] * 9), patience=Patience(attempts=3))
    assert (result.receipt, result.attempts, result.text) == (None, 3, LIMIT)


def test_a_refusal_ends_it_at_once() -> None:
    result, _, _ = run(Scripted(ANOTHER_PICTURE, NO))
    assert (result.receipt, result.attempts, result.text) == (None, 2, REFUSED)


def test_pictures_may_run_out() -> None:
    result, _, _ = run(Scripted(*[ANOTHER_PICTURE] * 9), pictures=2)
    assert (result.attempts, result.text) == (2, NO_MORE)


def test_a_picture_that_cannot_be_used_is_passed_over() -> None:
    found: list[PaymentStep] = []
    source = Pictures([b"no picture", face(FACE, 0)])
    result = pay(Scripted(PASSED), source, "alice", ORDER, None, found.append, lambda _: None)
    assert (result.receipt, result.attempts, found[1].text) == (RECEIPT, 2, UNUSABLE)


def test_passwords_pay_the_same_order() -> None:
    sender = Scripted(NO, PASSED)
    assert pay_by_password(sender, "wrong", "alice", ORDER).text == WRONG_PASSWORD
    assert pay_by_password(sender, "right", "alice", ORDER).receipt == RECEIPT
    assert {reference for _, reference in sender.sent} == {ORDER.reference}


def test_a_person_chooses_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failed, paid = Result(None, 5, LIMIT), Result(RECEIPT, 1, "Paid.")
    said = iter(["what?", "again", "p", "secret word"])
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(said))
    faces, passwords = iter([failed, failed]), []

    def by_password(password: str) -> Result:
        passwords.append(password)
        return paid

    assert cli.settled(lambda: next(faces), by_password, asks=True) is paid
    assert passwords == ["secret word"]
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: "cancel")
    assert cli.settled(lambda: failed, by_password, asks=True).text == "Cancelled."
    assert cli.settled(lambda: failed, by_password, asks=False) is failed


def frame(folder: Path, name: str, time: int, content: bytes | None = None) -> None:
    buffer = io.BytesIO()
    Image.new("L", (20, 20), time).save(buffer, "PNG")
    (folder / name).write_bytes(buffer.getvalue() if content is None else content)
    os.utime(folder / name, ns=(time, time))


def camera(folder: Path, on_sleep=lambda: None, wait: float = 5.0) -> Camera:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        on_sleep()

    return Camera(folder, wait, lambda: now[0], sleep)


def shade(png: bytes | None) -> int | None:
    return None if png is None else int(Image.open(io.BytesIO(png)).getpixel((0, 0)))  # type: ignore[arg-type]


def test_a_camera_gives_its_newest_frame_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        frame(tmp_path, f"{number}.png", number)
    source = camera(tmp_path)
    assert shade(source.next()) == 3
    frame(tmp_path, "4.png", 4)
    assert [shade(source.next()) for _ in range(4)] == [4, 2, 1, None]
    frame(tmp_path, "4.png", 5)  # a camera that writes over its one file
    assert shade(source.next()) == 5


def test_a_camera_is_waited_for(tmp_path: Path) -> None:
    assert shade(camera(tmp_path, lambda: frame(tmp_path, "late.png", 7)).next()) == 7
    empty = tmp_path / "empty"
    empty.mkdir()
    assert camera(empty, wait=0.3).next() is None


def test_a_frame_that_is_still_written_is_looked_at_again(tmp_path: Path) -> None:
    frame(tmp_path, "1.png", 9, content=b"\x89PNG half")
    assert shade(camera(tmp_path, lambda: frame(tmp_path, "1.png", 9)).next()) == 9
    frame(tmp_path, "2.png", 10, content=b"\x89PNG half")
    broken = camera(tmp_path / ".", wait=0.3)
    assert shade(broken.next()) == 9
    with pytest.raises(BadImage):
        broken.next()
    assert broken.next() is None


def test_sources_of_pictures(tmp_path: Path) -> None:
    frame(tmp_path, "b.png", 1)
    frame(tmp_path, "a.png", 2)
    (tmp_path / "notes.txt").write_text("no picture")
    assert listed([tmp_path]) == [tmp_path / "a.png", tmp_path / "b.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="no picture to send"):
        listed([tmp_path / "none"])
    with pytest.raises(BadInput, match="either"):
        cli.make_source([], None)
    with pytest.raises(BadInput, match="either"):
        cli.make_source([tmp_path], tmp_path)
    with pytest.raises(BadInput, match="no folder"):
        cli.make_source([], tmp_path / "absent")


NO_AMOUNTS = (
    "",
    "0",
    "0.00",
    "-1",
    "1.234",
    "1.",
    ".5",
    "a",
    "NaN",
    "sNaN",
    "Infinity",
    "1e2",
    "1e30",
    "1e999999",
)
FOREIGN = ("1_000", "٣", " 7", "7\n", "+7", "1,5", "1 000", "99999999999", "9" * 100_000)


@pytest.mark.parametrize("amount", [*NO_AMOUNTS, *FOREIGN])
def test_no_amounts(amount: str) -> None:
    """1e999990 once held the interpreter for a minute."""
    with pytest.raises(BadInput, match=r"is no amount: write 49\.95") as refused:
        make_order("bakery", amount, "EUR")
    assert len(str(refused.value)) < 100


def test_amounts_and_accounts() -> None:
    assert make_order("bakery", "49.95", "EUR").amount == 4995
    assert make_order("bakery", "1", "EUR").reference != make_order("bakery", "1", "EUR").reference
    assert make_order("bakery", "3.5", "EUR").amount == 350
    for payee, currency in (("x" * 129, "EUR"), ("a\nb", "EUR"), ("ba\udcffkery", "EUR"), ("bakery", "euro")):
        with pytest.raises(BadInput):
            make_order(payee, "1", currency)
    for account in ("", "a b", "x" * 65, "<b>"):
        with pytest.raises(BadInput):
            check_account_name(account)
