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


def main() -> None:
    cluster, model, picture = sys.argv[1:]
    with Client(Contact.configured(Path(cluster), insecure_small_key=True)) as client:
        # Looked up here, where the test may have put another.
        client.classify([np.load(picture)], model, report=mortal_user.progress)


if __name__ == "__main__":
    main()
