"""A user that asks once, for tests.system.mortal: CLUSTER MODEL PICTURE.npy"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.system import mortal_user
from user.client import Client
from user.contact import Contact


def progress(done: int, stages: int, label: str) -> None:
    """Does nothing; here a user can die in the middle of its query."""


def report(done: int, stages: int, label: str) -> None:
    if stages:  # before, nothing may have been sent
        mortal_user.progress(done, stages, label)  # looked up here, where the test may have put another


def main() -> None:
    cluster, model, picture = sys.argv[1:]
    with Client(Contact.configured(Path(cluster), insecure_small_key=True)) as client:
        client.classify([np.load(picture)], model, report=report)


if __name__ == "__main__":
    main()
