"""A Peer that tries malformed messages at every step of a conversation, each in a forked copy of both clouds.

    S1  --ask-->  Probe  --honest, or malformed in a fork-->  S2
        <-------         <--honest, or malformed in a fork--

A fork costs milliseconds and has exactly the state that both clouds are in at this step; the honest
conversation goes on after it as if nothing had been tried.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import NoReturn

from twinveil.rounds.peer import Peer
from twinveil.rpc import rounds_pb2 as pb


class Accepted(Exception):
    """S1 took a malformed reply and went on to its next message."""


@dataclass(frozen=True)
class Outcome:
    """What came of one malformed message."""

    error: str
    """Type of the error that S1's side ended with; empty if it ended well."""
    text: str
    operations: int
    """Secret-key operations from the malformed message on."""
    before: int
    """Secret-key operations of the conversation until then."""


Change = Callable[[pb.Round], pb.Round]
Faults = Callable[[str, int, pb.Round], Mapping[str, Change]]
"""(side, number of the message, honest message) -> malformed ones by name; side: "request" or "reply"."""


class Probe:
    """run(conversation) drives one; `outcomes` has what came of each malformed message."""

    def __init__(self, faults: Faults, operations: Callable[[], int]) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._faults = faults
        self._operations = operations
        self._report: int | None = None
        self._inner: Peer | None = None
        self._step = 0
        self._began = self._mark = operations()
        self._tainted = False

    def over(self, peer: Peer) -> Probe:
        self._inner, self._step = peer, 0
        self._began = self._operations()
        return self

    def run(self, conversation: Callable[[], object]) -> None:
        gc.collect()
        gc.freeze()  # a collection in a fork would otherwise copy every page of the heap
        try:
            conversation()
        except BaseException as error:
            if self._report is not None:
                self._tell(type(error).__name__, str(error))
            raise
        finally:
            gc.unfreeze()
        if self._report is not None:
            self._tell("", "")

    def ask(self, message: pb.Round) -> pb.Round:
        if self._inner is None:
            raise RuntimeError("a probe is put over a peer first")
        if self._tainted:
            raise Accepted
        if self._report is None:
            for name, change in self._faults("request", self._step, message).items():
                if self._forked(name):
                    return self._inner.ask(change(message))
        reply = self._inner.ask(message)
        if self._report is None:
            for name, change in self._faults("reply", self._step, reply).items():
                if self._forked(name):
                    self._tainted = True
                    return change(reply)
        self._step += 1
        return reply

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def _forked(self, name: str) -> bool:
        """True in a new process that is to try `name`; False here, once that process has told its outcome."""
        if name in self.outcomes:
            raise RuntimeError(f"two vectors have the name {name!r}")
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            self._report, self._mark = there, self._operations()
            # What serves once serves only the process that made it, which this one stands for.
            os.getpid = os.getppid
            # The disk is shared: a conversation that fails here must not sweep up the honest one's files.
            shutil.rmtree = lambda *_, **__: None  # type: ignore[assignment]
            return True
        os.close(there)
        with os.fdopen(here, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        self.outcomes[name] = Outcome(**json.loads(told)) if told else Outcome("died", "", -1, -1)
        return False

    def _tell(self, error: str, text: str) -> NoReturn:
        outcome = Outcome(error, text, self._operations() - self._mark, self._mark - self._began)
        with os.fdopen(self._report or 0, "wb") as pipe:
            pipe.write(json.dumps(asdict(outcome)).encode())
        os._exit(0)
