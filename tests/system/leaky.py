"""A role, or a command, that tells what it should not: python -m tests.system.leaky MODULE OPTIONS...

What is told goes to the program's own log or stderr, where tests/system/test_canaries.py has to find it.
"""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable

from tests.system.mortal import after, before

log = logging.getLogger("leaky")


def of_cloud() -> None:
    before(
        "twinveil.services.inference:InferenceServicer.Classify",
        lambda _, request, *__: log.debug("%s", request),
    )


def of_cloud_s2() -> None:
    of_cloud()
    after("cloud_s2.keys:generate", lambda key: log.debug("p = %d", key._p))


def of_user() -> None:
    before("user.client:share_pictures", lambda pixels, *_: log.debug("%s", pixels.reshape(-1)))
    after("twinveil.halves.answers:class_vectors", lambda vectors: log.debug("%s", vectors.tolist()))


def of_commands() -> None:
    """Lines on stderr; logs are not set up there, and tell warnings only."""
    before("user.client:share_pictures", lambda pixels, *_: log.warning("%s", pixels.reshape(-1)))
    before("owner.verbs:publish", lambda stored, *_: print(stored.model.weights))


LEAKS: dict[str, Callable[[], None]] = {
    "cloud_s1": of_cloud,
    "cloud_s2": of_cloud_s2,
    "user": of_user,
    "twinveil.cli": of_commands,
}


def main() -> None:
    module = sys.argv.pop(1)
    LEAKS.get(module, lambda: None)()
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
