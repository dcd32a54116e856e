"""twinveil unseal FILE: opens a sealed picture where the server's keys are. It tells origin, not age."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from owner.sealing.services import DATABASE, STATE
from twinveil.cli.terminal import Terminal
from twinveil.errors import BadInput, EnvelopeRefused
from twinveil.files import replace
from twinveil.sealing.content import Content
from twinveil.sealing.envelope import SIGN_VERSIONS, Envelope, read_envelope
from twinveil.sealing.factors import factor_model
from twinveil.sealing.keys import ServerKeys, public_device_key, server_keys
from twinveil.sealing.network_files import load_network
from twinveil.sealing.reasons import Reason, Refusal
from twinveil.sealing.server.store import Store
from twinveil.sealing.server.verify import check_factor, open_content
from twinveil.start.config import settle
from twinveil.start.settings import EVERY_SETTING, SealingSettings


def unseal(
    sealed: Annotated[Path, typer.Argument(help="A file that twinveil seal wrote.")],
    out: Annotated[Path, typer.Option(help="Where the picture goes, as PNG.")],
    state: Annotated[Path | None, typer.Option(help="The sealing server's state folder.")] = None,
    networks: Annotated[Path | None, typer.Option(help="Folder of the trained networks.")] = None,
    factor: Annotated[str | None, typer.Option(help="variational or adversarial.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the picture if it is there.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Open a sealed picture and check signature, key, network and factor; not its age, nor replay."""
    flags = {"state": state and str(state), "networks": networks and str(networks), "factor": factor}
    settings = settle(SealingSettings, "sealing", flags | {"config": config}, os.environ, EVERY_SETTING)
    if out.exists() and not force:
        raise BadInput(f"{out} is there already: give --force to replace it")
    folder = settings.state / STATE
    if not (folder / DATABASE).exists():
        raise BadInput(f"{folder} is not the state of a sealing server: give its --state")
    keys = server_keys(folder)
    store = Store(folder / DATABASE, keys.storage)
    try:
        data = sealed.read_bytes()
    except OSError as error:
        raise BadInput(f"{sealed} cannot be read: {error.strerror}") from None
    try:
        envelope, content = opened(data, keys, store, settings.networks / settings.factor)
    except Refusal as refusal:
        raise EnvelopeRefused(f"{sealed} is refused: {refusal.reason}") from None
    finally:
        store.close()
    replace(out, content.secret)
    facts = _facts(envelope, content)
    if as_json:
        typer.echo(json.dumps(facts | {"picture": str(out)}))
    else:
        terminal = Terminal()
        for name, value in facts.items():
            terminal.say(f"{name:13} {value}")


def opened(data: bytes, keys: ServerKeys, store: Store, network: Path) -> tuple[Envelope, Content]:
    """All checks of a verification but those of time, replay and face. Raises Refusal, InvalidMessage."""
    envelope = read_envelope(data)
    header = envelope.header
    key = store.device_key(header.second.device)
    if key is None:
        raise Refusal(Reason.FOREIGN_DEVICE)
    if not envelope.is_signed_by(public_device_key(key)):
        raise Refusal(Reason.SIGNATURE)
    if header.second.sign_version not in SIGN_VERSIONS:
        raise Refusal(Reason.VERSION)
    if header.key_id != keys.public.key_id:
        raise Refusal(Reason.FOREIGN_KEY)
    model = factor_model(load_network(network))
    if header.network != model.network.digest:
        raise Refusal(Reason.FOREIGN_MODEL)
    content = open_content(envelope, keys)
    if content.proof != "picture":
        raise Refusal(Reason.CONTENT)
    check_factor(envelope, content, model)
    return envelope, content


def _facts(envelope: Envelope, content: Content) -> dict[str, str | int]:
    second = envelope.header.second
    return {
        "account": content.account,
        "device": second.device,
        "sealed": datetime.fromtimestamp(second.timestamp / 1000, UTC).isoformat(timespec="milliseconds"),
        "counter": second.counter,
        "sign_version": second.sign_version,
        "factor_bytes": len(content.factor),
    }
