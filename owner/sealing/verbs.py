"""The owner's verbs: twinveil sealing train, serve, register, enrol, bench and fuzz."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from twinveil.cli.main import PASS_THROUGH
from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal
from twinveil.errors import BadInput, InvalidMessage
from twinveil.sealing.content import MOST_PASSWORD_BYTES
from twinveil.sealing.enrolment import Enrolment
from twinveil.sealing.factors import FORMS
from twinveil.sealing.pixels import to_png
from twinveil.services.sealing import SealingServer
from twinveil.start.config import CLUSTER, choice, variable
from twinveil.start.local_folder import NAME, LocalFolder
from twinveil.start.process import command
from twinveil.start.settings import EnrolSettings
from twinveil.transport.channel import connect
from twinveil.wording import Telling

REACH = ("tls", "insecure_plaintext", "connect_wait", "sealing")
NETWORKS = Path(".twinveil/sealing/networks")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NetworksOption = Annotated[
    Path, typer.Option(envvar=variable("networks"), help="Folder of the trained networks.")
]


def train(
    out: Annotated[Path, typer.Option(help="Folder for the networks.")] = NETWORKS,
    data: Annotated[str, typer.Option(help="orl, or a folder with a sub-folder for each person.")] = "orl",
    only: Annotated[
        list[str] | None, typer.Option(help="variational, adversarial or recogniser; may be repeated.")
    ] = None,
    form: Annotated[str, typer.Option(help=f"Of the adversarial factor: {', '.join(FORMS)}.")] = "rows",
    epochs: Annotated[int | None, typer.Option(help="Epochs of each; else each network's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train both ways of the first factor and the recogniser, on faces, and quantise them to integers."""
    from owner.sealing.train import EVERYTHING, train_sealing
    from owner.sealing.training import Options

    what = tuple(choice(*EVERYTHING)(name) for name in only or EVERYTHING)
    with steps("training for sealing") as step:

        def report(name: str) -> Telling:
            return lambda done, epochs, text: step(done, epochs, f"{name}: {text}")

        chosen = choice(*FORMS)(form)
        found = train_sealing(out, data, what, Options(epochs, seed), chosen, report)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    terminal = Terminal()
    for name, facts in found.items():
        terminal.say(f"{name}: {out / name}")
        for fact, value in facts.items():
            terminal.say(f"  {fact:24} {value}")


serve = typer.Typer(add_completion=False)


@serve.command(context_settings=PASS_THROUGH)
def _serve(
    context: typer.Context,
    cluster: Annotated[
        Path | None,
        typer.Option(
            envvar=CLUSTER, help="Folder of a local cluster, to serve beside it with its certificates."
        ),
    ] = None,
) -> None:
    """Run the sealing server until it is told to stop; further options: twinveil serve sealing --help."""
    flags: list[str] = []
    if cluster is not None:
        local = LocalFolder(cluster)
        local.check("owner")
        flags = [f"--tls={local.tls('owner')}", f"--state={local.state('owner')}", f"--name={NAME}"]
        flags += ["--listen=127.0.0.1:0", f"--ready-file={local.ready_file('sealing')}"]
    os.execv(sys.executable, command("owner.sealing", *flags, *context.args))  # noqa: S606


@with_settings(EnrolSettings, *REACH)
def register(
    settings: EnrolSettings,
    device: Annotated[str, typer.Argument(help="The device's name.")],
    public_key: Annotated[str, typer.Argument(help="Its key, as twinveil sealing device shows it.")],
) -> None:
    """Register a device at the sealing server: from then on its signature counts."""
    try:
        key = bytes.fromhex(public_key)
    except ValueError:
        raise BadInput("the public key must be hexadecimal, as twinveil sealing device shows it") from None
    with connect(settings.me(), settings.role, settings.sealing, settings.connect_wait) as link:
        SealingServer(link).register_device(device, key)
    Terminal().say(f"device {device} is registered")


@with_settings(EnrolSettings, *REACH)
def enrol(
    settings: EnrolSettings,
    account: Annotated[str, typer.Argument(help="The account's name.")],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures of one face; three to five are good.")],
    payment: Annotated[str, typer.Option(help="What receipts show, such as a card's last digits.")] = "",
    password_stdin: Annotated[bool, typer.Option(help="Read a password from standard input.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an account that is there.")] = False,
) -> None:
    """Enrol an account with pictures of its owner's face: they travel sealed, only features are kept."""
    password = _password(sys.stdin.buffer) if password_stdin else ""
    try:
        enrolment = Enrolment(account, payment, password, tuple(to_png(picture) for picture in pictures))
    except InvalidMessage as error:
        raise BadInput(str(error)) from None
    with connect(settings.me(), settings.role, settings.sealing, settings.connect_wait) as link:
        server = SealingServer(link)
        keys, _, _ = server.terms()
        server.enrol(enrolment.sealed(keys), replace)
    Terminal().say(f"account {account} is enrolled with {len(pictures)} pictures")


def _password(stream: BinaryIO) -> str:
    """The first line, UTF-8 whatever the locale is, as on the payment page. Raises BadInput."""
    line = stream.readline(MOST_PASSWORD_BYTES + len("\r\n") + 1).removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise BadInput("the password on standard input is no UTF-8") from None


def bench(
    networks: NetworksOption = NETWORKS,
    factor: Annotated[
        str, typer.Option(envvar=variable("factor"), help="variational or adversarial.")
    ] = "variational",
    repeats: Annotated[int, typer.Option(min=1, help="Envelopes.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Measure sealing and verification, and where the time goes."""
    from owner.sealing.bench import measure

    found = measure(networks, factor, repeats)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for side, rows in found.items():
        typer.echo(f"{side}:" if isinstance(rows, dict) else f"{side}: {rows}")
        for stage, value in rows.items() if isinstance(rows, dict) else ():
            typer.echo(f"  {stage:12} {value:8.3f} ms")


def fuzz(
    count: Annotated[int, typer.Option(min=1, help="Envelopes.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Of the mutations.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Verify mutated envelopes: none may pass, none may crash the server."""
    from owner.sealing.fuzz import run_fuzz

    with steps("fuzzing envelopes") as step:
        found: dict[str, Any] = run_fuzz(count, seed, lambda done: step(done, count, ""))
    typer.echo(json.dumps(found, indent=2) if as_json else _fuzz_text(found))
    if found["accepted"] or found["crashes"]:
        raise BadInput("the server accepted a mutated envelope or crashed: see above")


def _fuzz_text(found: dict[str, Any]) -> str:
    reasons = "".join(f"\n  {name:16} {number}" for name, number in found["reasons"].items())
    return (
        f"{found['envelopes']} envelopes, {found['accepted']} accepted, {found['crashes']} crashes{reasons}"
    )
