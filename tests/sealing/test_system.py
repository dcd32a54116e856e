"""The sealing server as a real process, device and operator on the command line: kill -9, restart, replay,
and the way of a picture from `twinveil seal` to `twinveil unseal`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from owner.sealing.rig import FACE, STRANGER, face
from twinveil.sealing import synthetic
from twinveil.sealing.content import Order
from twinveil.sealing.network_files import save_network
from twinveil.sealing.pixels import from_png
from twinveil.sealing.reasons import Outcome
from twinveil.services.sealing import SealingServer
from twinveil.start.settings import DeviceSettings
from twinveil.transport.address import Ready
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me, connect
from twinveil.transport.credentials import TlsFiles
from user.sealing.session import open_session

pytestmark = pytest.mark.system

REFUSED, WRONG = 3, 2


class Town:
    """One folder with a server's process, its clients' certificates, and pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        authority = make_authority("test authority")
        for role in ("owner", "user"):
            issue(authority, role, "test", self.tls(role))
        for name, network in (
            ("variational", synthetic.variational()),
            ("adversarial", synthetic.adversarial()),
            ("recogniser", synthetic.recogniser()),
        ):
            save_network(folder / "networks" / name, network)
        for who, name in ((FACE, "alice"), (STRANGER, "mallory")):
            (folder / name).mkdir()
            for shot in range(4):
                (folder / name / f"{shot}.png").write_bytes(face(who, shot))

    def tls(self, role: str) -> Path:
        return self.folder / "tls" / role

    @property
    def address(self) -> str:
        return f"file:{self.folder / 'ready.json'}"

    def start(self, *options: str) -> None:
        flags = {
            "listen": "127.0.0.1:0",
            "tls": self.tls("owner"),
            "state": self.folder / "server",
            "networks": self.folder / "networks",
            "ready-file": self.folder / "ready.json",
        }
        command = [
            sys.executable,
            "-m",
            "owner.sealing",
            *(f"--{name}={value}" for name, value in flags.items()),
        ]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--until-stdin-closes", *options], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while Ready.read(self.folder / "ready.json") is None:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        (self.folder / "ready.json").unlink()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def run(self, *words: str, role: str = "user", text: str = "", code: int = 0) -> str:
        """A command; what it prints. Its error is in the log of a test that fails."""
        reach = [f"--tls={self.tls(role)}", f"--sealing={self.address}"]
        if role == "user":
            reach.append(f"--state={self.folder / 'device'}")
        return self.plain(*words, *reach, text=text, code=code)

    def plain(self, *words: str, text: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "twinveil.cli", *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def settings(self) -> DeviceSettings:
        return DeviceSettings(
            state=self.folder / "device",
            name="test",
            tls=self.tls("user"),
            sealing=self.address,
            device="till-7",
        )

    def enrol(self) -> None:
        """In this process: the command line has a test of its own."""
        from twinveil.sealing.enrolment import Enrolment

        with open_session(self.settings()) as session:
            device = session.device
        me = Me("owner", "test", TlsFiles.in_folder(self.tls("owner")))
        with connect(me, "owner", self.address) as link:
            server = SealingServer(link)
            server.register_device(device.name, device.public_key)
            pictures = tuple(face(FACE, shot) for shot in range(3))
            server.enrol(Enrolment("alice", "card", "", pictures).sealed(server.terms()[0]), replace=False)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.stop()


def test_kill_9_forgets_neither_nonces_nor_counters_nor_receipts(town: Town) -> None:
    town.start()
    town.enrol()
    order = Order("bakery", 350)
    with open_session(town.settings()) as session:
        old, used, next_one = (
            session.device.seal(face(FACE, 9), "alice", order, session.terms) for _ in range(3)
        )
        outcome, receipt = session.server.verify(used)
        assert outcome is Outcome.PASSED
    town.kill()
    town.start()
    with open_session(town.settings()) as session:
        assert session.server.verify(used) == (Outcome.REFUSED, None)
        assert session.server.verify(old) == (Outcome.REFUSED, None)
        assert session.server.verify(next_one) == (Outcome.PASSED, receipt)  # the same order: paid once
    assert "refused (replayed)" in town.log()
    assert "refused (counter)" in town.log()


@pytest.mark.heavy
def test_from_the_command_line(town: Town) -> None:
    """Register, enrol, seal, unseal, pay, and be refused."""
    town.start("--metrics=127.0.0.1:0", "--factor=adversarial")
    shown = json.loads(
        town.plain("sealing", "device", "--device=till-7", f"--state={town.folder / 'device'}", "--json")
    )
    assert shown["device"] == "till-7"
    assert "registered" in town.run("sealing", "register", "till-7", shown["public_key"], role="owner")
    pictures = [str(town.folder / "alice" / f"{shot}.png") for shot in range(3)]
    enrol = ("sealing", "enrol", "alice", *pictures, "--payment=card ending in 4242", "--password-stdin")
    assert "3 pictures" in town.run(*enrol, role="owner", text="correct horse\n")

    sealed, out = town.folder / "picture.sealed", town.folder / "picture.png"
    town.run("seal", pictures[0], f"--out={sealed}", "--account=alice")
    unseal = ("unseal", str(sealed), f"--out={out}", f"--state={town.folder / 'server'}")
    unseal += (f"--networks={town.folder / 'networks'}", "--factor=adversarial")
    facts = json.loads(town.plain(*unseal, "--json"))
    assert (facts["account"], facts["device"], facts["counter"]) == ("alice", "till-7", 1)
    assert (from_png(out.read_bytes()) == synthetic.picture(FACE, 0)).all()
    touched = bytearray(sealed.read_bytes())
    touched[-100] ^= 1
    sealed.write_bytes(touched)
    assert "is refused: signature" in town.plain(*unseal, "--force", code=REFUSED)
    assert "--force" in town.plain(*unseal, code=WRONG)

    pay = ("sealing", "pay", "--account=alice", "--payee=bakery", "--amount=3.50", "--json")
    paid = json.loads(town.run(*pay, str(town.folder / "mallory" / "0.png"), pictures[1]))
    assert (paid["attempts"], paid["receipt"]["payment"]) == (2, "card ending in 4242")
    said = town.run(*pay, "--attempts=2", str(town.folder / "mallory"), code=REFUSED)
    assert "No picture was recognised." in said
    assert "try another picture (face)" in town.log()
    assert "correct horse" not in town.log()


@pytest.mark.heavy
def test_the_page_is_served_from_the_command_line(town: Town) -> None:
    town.start()
    town.enrol()
    ready = town.folder / "page.json"
    words = ["sealing", "page", f"--tls={town.tls('user')}", f"--sealing={town.address}", "--device=till-7"]
    words += [f"--state={town.folder / 'device'}", "--listen=127.0.0.1:0", f"--ready-file={ready}"]
    page = subprocess.Popen([sys.executable, "-m", "twinveil.cli", *words], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while (found := Ready.read(ready)) is None:
            assert page.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{found.port}/", timeout=10) as reply:
            assert "till-7" in reply.read().decode()
    finally:
        page.terminate()
        page.wait(20)
    assert "loopback" in town.run("sealing", "page", "--device=till-7", "--listen=0.0.0.0:0", code=WRONG)


def test_the_server_needs_no_torch_and_no_cloud() -> None:
    code = (
        "import sys; import owner.sealing.services;"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'cloud_s1', 'user')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
