"""A device's verbs: twinveil seal, and twinveil sealing device, pay and page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal
from twinveil.errors import BadInput, EnvelopeRefused
from twinveil.files import PUBLIC, replace
from twinveil.sealing.content import Order
from twinveil.sealing.pixels import to_png
from twinveil.sealing.receipt import Receipt
from twinveil.start.settings import DeviceSettings
from user.sealing.captures import Camera, Pictures, Source, listed
from user.sealing.flow import Patience, PaymentStep, Result, pay_by_password
from user.sealing.flow import pay as pay_by_face
from user.sealing.orders import check_account_name, make_order
from user.sealing.session import open_device, open_session

REACH = ("state", "tls", "insecure_plaintext", "connect_wait", "sealing", "sealing_fingerprint")
DEVICE = ("device", "sign_version")

AccountOption = Annotated[str, typer.Option(help="The account that pays.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CameraOption = Annotated[Path | None, typer.Option(help="Folder that a camera writes frames into.")]


@with_settings(DeviceSettings, "state", "device")
def device(settings: DeviceSettings, as_json: JsonOption = False) -> None:
    """Show this device's name and public key, for its registration; makes both at the first call."""
    own = open_device(settings)
    if as_json:
        typer.echo(json.dumps({"device": own.name, "public_key": own.public_key.hex()}))
    else:
        terminal = Terminal()
        terminal.say(f"device      {own.name}")
        terminal.say(f"public key  {own.public_key.hex()}")


@with_settings(DeviceSettings, *REACH, *DEVICE)
def seal(
    settings: DeviceSettings,
    picture: Annotated[Path, typer.Argument(help="The picture: png, jpeg, pgm, ...")],
    out: Annotated[Path, typer.Option(help="Where the envelope goes.")],
    account: AccountOption,
    as_json: JsonOption = False,
) -> None:
    """Seal a picture to the sealing server's keys: nobody on its way can read, alter or replay it."""
    png = to_png(picture)
    with open_session(settings) as session:
        envelope = session.device.seal(png, check_account_name(account), Order(), session.terms)
    replace(out, envelope, PUBLIC)
    if as_json:
        typer.echo(json.dumps({"envelope": str(out), "bytes": len(envelope), "picture_bytes": len(png)}))
    else:
        Terminal().say(f"{out}: {len(envelope)} bytes, sealed for {account}")


@with_settings(DeviceSettings, *REACH, *DEVICE)
def pay(
    settings: DeviceSettings,
    account: AccountOption,
    payee: Annotated[str, typer.Option(help="Who is paid.")],
    amount: Annotated[str, typer.Option(help="How much, such as 49.95.")],
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of them.")] = None,
    camera: CameraOption = None,
    currency: Annotated[str, typer.Option(help="Three capitals.")] = "EUR",
    attempts: Annotated[int, typer.Option(min=1, max=50, help="Pictures in all.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Pay by face. While it does not pass, the next picture is tried; then again, password or cancel."""
    order = make_order(payee, amount, currency)
    check_account_name(account)
    make_source(pictures or [], camera)  # a wrong folder is said before anybody is called
    terminal = Terminal(stderr=True)
    with open_session(settings) as session:

        def by_face() -> Result:
            source = make_source(pictures or [], camera)
            return pay_by_face(session, source, account, order, Patience(attempts), _saying(terminal))

        def by_password(password: str) -> Result:
            return pay_by_password(session, password, account, order)

        asks = sys.stdin.isatty() and not as_json
        result = settled(by_face, by_password, asks)
    if result.receipt is None:
        if as_json:
            typer.echo(json.dumps({"paid": False, "attempts": result.attempts, "text": result.text}))
        raise EnvelopeRefused(result.text)
    _show(result.receipt, result.attempts, as_json)


def settled(by_face: Callable[[], Result], by_password: Callable[[str], Result], asks: bool) -> Result:
    """A payment to its end: on failure a person chooses, where there is one to ask."""
    result = by_face()
    while result.receipt is None and asks:
        typer.echo(result.text)
        match typer.prompt("again, password or cancel", default="again").strip().lower():
            case "again" | "a":
                result = by_face()
            case "password" | "p":
                result = by_password(typer.prompt("Password", hide_input=True))
            case "cancel" | "c":
                return Result(None, result.attempts, "Cancelled.")
            case _:
                typer.echo("Please answer again, password or cancel.")
    return result


@with_settings(DeviceSettings, *REACH, *DEVICE, "listen", "ready_file")
def page(
    settings: DeviceSettings,
    camera: CameraOption = None,
    attempts: Annotated[int, typer.Option(min=1, max=50, help="Pictures of one payment.")] = 5,
) -> None:
    """Serve the payment page on this machine, until Ctrl-C."""
    from user.sealing.page.serve import serve_page

    serve_page(settings, camera, Patience(attempts))


def make_source(pictures: list[Path], camera: Path | None) -> Source:
    """Raises BadInput unless there is exactly one source of pictures."""
    if (camera is None) == (not pictures):
        raise BadInput("give either pictures or --camera FOLDER")
    return Camera(camera) if camera is not None else Pictures(listed(pictures))


def _saying(terminal: Terminal) -> Callable[[PaymentStep], None]:
    def on_step(step: PaymentStep) -> None:
        if step.picture is None:
            said = f"{step.text} " if step.text else ""
            terminal.say(f"{said}Picture {step.attempt} of {step.attempts}")

    return on_step


def _show(receipt: Receipt, attempts: int, as_json: bool) -> None:
    if as_json:
        found: dict[str, Any] = {"paid": True, "attempts": attempts, "receipt": asdict(receipt)}
        typer.echo(json.dumps(found))
        return
    lines = {
        "Paid": receipt.price,
        "to": receipt.payee,
        "by": ", ".join(filter(None, (receipt.account, receipt.payment))),
        "receipt": receipt.number,
    }
    terminal = Terminal()
    for name, value in lines.items():
        terminal.say(f"{name:8} {value}")
