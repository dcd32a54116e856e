"""twinveil demo: the whole way of a picture on one machine, through four separate processes.

It does what a person would type (train, outsource), then gives held-out pictures to the user's process and
compares every answer with the oracle, which runs the same integers in the clear. No role is imported here.
With `--engine textbook` the published formulas run, on a network that is small enough for them.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from together import demo_report as report
from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import BadInput
from twinveil.files import PUBLIC, check_place, private_folder, write_report
from twinveil.network import oracle
from twinveil.network.folder import PLAN, StoredModel, load_model
from twinveil.params import KEY_BITS, MIN_KEY_BITS, Engine, Params
from twinveil.pictures.files import load_picture
from twinveil.pictures.folders import pictures_in, visible
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.rpc.gateway_pb2 import Picture
from twinveil.services import gateway
from twinveil.start.config import variable
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.process import command
from twinveil.transport.channel import connect
from twinveil.values import read_json
from twinveil.verbs.serve_all import SmallKey, cluster_options, watch
from twinveil.views.collection import Asked, write_pictures
from twinveil.wording import typed

PICTURE_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Programme:
    """What the demo of an engine trains and runs, unless told otherwise. held_out: folder of the pictures."""

    data: str
    width: float
    held_out: str
    key_bits: int
    images: int


PROGRAMMES: Mapping[Engine, Programme] = {
    "packed": Programme("mnist", 1.0, "held-out", KEY_BITS, 10),
    "textbook": Programme("digits", 0.2, "digits-held-out", MIN_KEY_BITS, 2),
}


def _default(what: str) -> str:
    return ", ".join(f"{getattr(each, what)} ({engine})" for engine, each in PROGRAMMES.items())


@dataclass(frozen=True)
class Folders:
    """What one run leaves for the next."""

    root: Path
    programme: Programme
    key_bits: int

    @property
    def model(self) -> Path:
        return self.root / self.programme.data

    @property
    def has_model(self) -> bool:
        return (self.model / PLAN).is_file() and self.held_out.is_dir()

    @property
    def held_out(self) -> Path:
        return self.root / self.programme.held_out

    @property
    def cluster(self) -> Path:
        return self.root / f"{self.key_bits}-bit"


def demo(
    images: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help=f"Held-out digits to classify. Default: {_default('images')}."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="packed, or the published formulas, one ciphertext a value, on a small network."),
    ] = "packed",
    key_bits: Annotated[
        int | None,
        typer.Option(
            envvar=variable("key_bits"), help=f"Length of the modulus. Default: {_default('key_bits')}."
        ),
    ] = None,
    insecure_small_key: SmallKey = False,
    folder: Annotated[
        Path, typer.Option(help="What a run makes and the next one finds: model, key, pictures, logs.")
    ] = Path(".twinveil/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Which held-out digits are taken.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the processes running until Ctrl-C.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            envvar=variable("record"),
            help="Write down here what each cloud sees; then: twinveil views FOLDER.",
        ),
    ] = None,
) -> None:
    """Train, outsource and classify digits through four processes; every answer is checked."""
    if json_file is not None:
        check_place(json_file)
    programme = PROGRAMMES[engine]
    bits = programme.key_bits if key_bits is None else key_bits
    params = Params(bits, insecure_small_key=insecure_small_key)  # refused before minutes of training
    images = images or programme.images
    terminal = Terminal()
    folders = Folders(folder, programme, params.key_bits)
    _train(folders, terminal)
    stored = load_model(folders.model)
    products = _products(stored, params, terminal) if engine == "textbook" else {}
    chosen = choose(folders.held_out, images, seed)
    with _running(folders, insecure_small_key, terminal, record) as cluster:
        name = _outsource(folders, stored, engine, insecure_small_key, terminal)
        answers: list[report.Answer] = []
        asked: list[Asked] = []
        for number, file in enumerate(chosen, 1):
            title = f"picture {number} of {images}"
            begin = time.time()
            answers.append(_classify(cluster, title, file, stored, name, engine))
            asked.append(answers[-1].asked(begin, time.time()))
            terminal.print(report.picture(answers[-1], title, stored.card, terminal.is_terminal))
        figures = report.figures(answers, stored.card, engine, params.key_bits, dict(cluster.pids), products)
        terminal.show(report.functions_table(figures))
        if products:
            terminal.show(report.formulas_table(figures))
        terminal.show(report.summary(figures))
        if json_file is not None:
            write_report(json_file, json.dumps(figures, indent=2) + "\n", PUBLIC)
        if record is not None:
            write_pictures(record, asked)
        if keep:
            _wait(cluster, [chosen[0], "--model", name, "--engine", engine], terminal)
    if record is not None:
        test = typed("twinveil", "views", record, "--report", "views.html")
        terminal.say(f"recorded; test it with: {test}")
    if not figures["all_agree"]:
        raise typer.Exit(1)


def choose(folder: Path, count: int, seed: int) -> list[Path]:
    """Pictures of FOLDER/CLASS/*.png, one class after the other. Raises BadInput if there are too few."""
    source = np.random.default_rng(seed)
    classes = [pictures_in(each) for each in visible(folder) if each.is_dir()]
    shuffled = [[files[at] for at in source.permutation(len(files))] for files in classes]
    order = [shuffled[at] for at in source.permutation(len(shuffled))]
    longest = max((len(files) for files in order), default=0)
    found = [files[turn] for turn in range(longest) for files in order if turn < len(files)]
    if len(found) < count:
        raise BadInput(f"{folder} holds {len(found)} pictures, not {count}: ask for fewer, or remove it")
    return found[:count]


def _products(stored: StoredModel, params: Params, terminal: Terminal) -> Mapping[str, int]:
    """SMPs of a picture by function, and a word on what they mean. Raises BadPlan if they are too many."""
    products = TextbookLayout(stored.model.plan, params).smps
    terminal.say(
        f"the published formulas, one ciphertext a value: {sum(products.values()):,} secure products (SMP) "
        f"a picture, under a key of {params.key_bits} bits (of a new key elsewhere: {KEY_BITS})"
    )
    return products


def _train(folders: Folders, terminal: Terminal) -> None:
    if folders.has_model:
        terminal.say(f"the model is trained already: {folders.model}")
        return
    private_folder(folders.root)
    made = _verb(
        terminal,
        "train",
        folders.programme.data,
        f"--width={folders.programme.width}",
        f"--out={folders.model}",
        f"--held-out={folders.held_out}",
        "--replace",
    )
    terminal.say(f"trained in {made['seconds']:.0f} s: {made['folder']}")


@contextmanager
def _running(
    folders: Folders, insecure_small_key: bool, terminal: Terminal, record: Path | None
) -> Iterator[LocalCluster]:
    options = cluster_options(folders.key_bits, insecure_small_key, record)
    cluster = LocalCluster(folders.cluster, options)
    if record is not None:
        terminal.say(
            styled(f"both clouds record what they see into {record}", "bold yellow"),
            ": together the recordings show pictures, weights and answers, so the demo's public digits only",
        )
    try:
        with steps(f"starting four processes, {folders.key_bits}-bit key, mutual TLS"):
            cluster.start()
        pids = ", ".join(f"{role} {pid}" for role, pid in cluster.pids.items())
        terminal.say(f"four processes run: {pids}")
        yield cluster
        cluster.check()
    finally:
        cluster.stop()


def _outsource(
    folders: Folders, stored: StoredModel, engine: str, insecure_small_key: bool, terminal: Terminal
) -> str:
    """The model's name at the clouds; outsources it unless they hold this very plan already."""
    name, version = folders.programme.data, stored.card.version
    reach = ["--cluster", str(folders.cluster)] + (["--insecure-small-key"] if insecure_small_key else [])
    for row in _verb(terminal, "models", *reach):
        if (row["model"], row["version"]) != (name, version):
            continue
        if row["whole"] and row["offered"] and row["plan_hash"] == stored.model.plan.hash.hex():
            terminal.say("the clouds hold the model already")
            return name
        if row["trouble"]:
            terminal.say(row["trouble"])
        _verb(terminal, "remove", name, version, *reach)
    made = _verb(
        terminal,
        "outsource",
        str(folders.model),
        "--name",
        name,
        "--version",
        version,
        "--engine",
        engine,
        *reach,
    )
    terminal.say(f"outsourced in {made['seconds']:.0f} s: S1 holds ciphertexts and shares, S2 only shares")
    return name


def _verb(terminal: Terminal, *arguments: str) -> Any:
    """What `twinveil ARGUMENTS --json` prints; its progress and errors go straight to the terminal."""
    terminal.say(styled(f"$ {typed('twinveil', *arguments)}", "dim"))
    words = command("twinveil.cli", *arguments, "--json")
    done = subprocess.run(words, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
    return json.loads(done.stdout)


def _classify(
    cluster: LocalCluster, title: str, file: Path, stored: StoredModel, name: str, engine: str
) -> report.Answer:
    """By the user's process, and by the oracle for comparison."""
    with steps(title) as step, connect(cluster.me("user"), "user", cluster.addresses["user"]) as link:
        asked = Picture(
            file=file.read_bytes(), model=name, version=stored.card.version, engine=engine, invert="never"
        )
        result = gateway.classify(link, asked, PICTURE_SECONDS, step)
    pixels = load_picture(file, stored.card.picture, "never")
    expected = tuple(int(each) for each in oracle.run(stored.model, pixels))
    return report.Answer(
        pixels=pixels,
        truth=file.parent.name,
        label=result.class_name,
        agrees=tuple(result.vector) == expected,
        scores=tuple(each / (1 << stored.model.plan.fraction_bits) for each in result.vector),
        seconds=result.seconds,
        clouds=read_json(result.figures_json),
    )


def _wait(cluster: LocalCluster, asked: Sequence[str | Path], terminal: Terminal) -> None:
    terminal.say("the four processes go on until Ctrl-C; in another terminal:")
    terminal.say(f"  {typed('twinveil', 'classify', *asked, '--cluster', cluster.folder)}")
    try:
        watch(cluster)
    except KeyboardInterrupt:
        terminal.say("ended")
