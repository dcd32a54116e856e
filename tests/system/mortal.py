"""A role that can be killed at one exact place: python -m tests.system.mortal FOLDER ROLE OPTIONS...

Once FOLDER holds a file "ROLE, PLACE", the process kills itself with SIGKILL when it comes to that place; the
file is gone then. FOLDER/told gets the digest of everything one-time that passes between the clouds (as S1
sends and gets it) and of everything masked that S2 decrypts or evaluates. A file "ROLE, repeating" gives
the role a generator that begins anew with every start: what nobody should ever do.
"""

from __future__ import annotations

import functools
import importlib
import os
import random
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.security.life import digest, one_time

PLACES = {
    "cloud_s1": {
        "beginning": "cloud_s1.queries:QueriesS1.classify",
        "making an item": "twinveil.protocol.packed.item.s1:MakerS1._garbled",
        "online": "twinveil.protocol.packed.online.s1:PicturesS1.answer",
        "before the answer": "twinveil.protocol.packed.online.s1:answer_half",
        "importing": "twinveil.protocol.packed.masking:Masks.open",
        "before its commit": "twinveil.cloud.store:Staged.commit",
    },
    "cloud_s2": {
        "beginning": "cloud_s2.queries:QueriesS2.classify",
        "making an item": "twinveil.protocol.packed.item.s2:MakerS2._shared",
        "online": "twinveil.protocol.packed.online.s2:PicturesS2.answer",
        "before the answer": "twinveil.protocol.packed.online.s2:answer_half",
        "importing": "twinveil.protocol.packed.model.s2:share",
        "before its commit": "twinveil.cloud.store:Staged.commit",
        "after its commit": "cloud_s2.provision:PendingImport.finish",
    },
    "user": {
        "beginning": "user.client:classify_at_both",
        "online": "tests.system.mortal_user:progress",
        "before the answer": "user.client:_figures",
    },
}
"""The function on whose call the process ends, by role and place."""

REPEATING = "repeating"
TOLD = "told"


def flag(folder: Path, role: str, place: str) -> Path:
    return folder / f"{role}, {place}"


def before(target: str, act: Callable[..., None]) -> None:
    """From now on `act` is called with a function's arguments before the function is."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            act(*arguments)
            return function(*arguments, **named)

        return call

    _replace(target, wrapped)


def after(target: str, act: Callable[[Any], None]) -> None:
    """From now on `act` is called with what a function returned."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            act(result)
            return result

        return call

    _replace(target, wrapped)


def _replace(target: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, wrapped(getattr(owner, name)))


def die_if(file: Path) -> None:
    if file.exists():
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class Teller:
    """Appends digests to a file; each is there before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def pieces(self, pieces: list[bytes]) -> None:
        self._file.write("".join(f"{digest(each)}\n" for each in pieces))

    def install(self) -> None:
        before("twinveil.services.rounds:GrpcPeer.ask", lambda _, message: self.pieces(one_time(message)))
        after("twinveil.services.rounds:GrpcPeer.ask", lambda reply: self.pieces(one_time(reply)))
        after(
            "twinveil.crypto.secret_key:SecretKey.decrypt",
            lambda found: self.pieces([str(each).encode() for each in found]),
        )
        after(
            "twinveil.garbling.ahead:EvaluatorHalf.open",
            lambda outputs: self.pieces([words.tobytes() for words in outputs.values()]),
        )


def repeat() -> None:
    source = random.Random(1)
    os.urandom = source.randbytes


def main() -> None:
    folder, role = Path(sys.argv[1]), sys.argv[2]
    if flag(folder, role, REPEATING).exists():
        repeat()
    for place, target in PLACES[role].items():
        file = flag(folder, role, place)
        before(target, lambda *_, file=file: die_if(file))
    Teller(folder / TOLD).install()
    del sys.argv[1:3]
    runpy.run_module("tests.system.mortal_user" if role == "user" else role, run_name="__main__")


if __name__ == "__main__":
    main()
