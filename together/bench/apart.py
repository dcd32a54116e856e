"""Four roles, each in a network of its own, that a switch joins; and pictures that are asked across it.

`python -m together.bench.apart JSON` is the user there. It starts the others and prints a line a picture:
seconds from the client's call to the vector, an item being ready. Nothing outlives it.
"""

from __future__ import annotations

from together.bench import namespaces
from twinveil.start.process import command, leave_folder

if __name__ == "__main__":
    leave_folder()
    namespaces.leave()  # before what is imported below has threads

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

from together.bench.networks import some_pictures
from together.bench.session import session
from twinveil.errors import TwinveilError
from twinveil.estimate.seconds import Link
from twinveil.network import oracle
from twinveil.network.folder import load_model
from twinveil.start.boundary import guarded
from twinveil.start.local_cluster import LocalCluster, Options

HERE = IPv4Interface("10.88.0.1/24")
"""The user's."""
THERE = {
    "owner": IPv4Interface("10.88.0.2/24"),
    "cloud_s1": IPv4Interface("10.88.0.3/24"),
    "cloud_s2": IPv4Interface("10.88.0.4/24"),
}
ITEMS = 2
"""That lie ready when a picture is asked."""
WARM_UP = 2
"""Pictures before the first that counts."""


@contextmanager
def joined(link: Link) -> Iterator[Mapping[str, int]]:
    """Namespaces of the other roles, joined with this process's own while the block lasts.

    Once, as their devices stay open with this process.
    """
    spaces, devices = {}, {HERE: namespaces.device(HERE)}
    for role, address in THERE.items():
        spaces[role] = namespaces.new()
        with namespaces.inside(spaces[role]):
            devices[address] = namespaces.device(address)
    ports = [f"{address.ip}={device}" for address, device in devices.items()]
    with subprocess.Popen(
        command("together.bench.switch", str(link.latency), str(link.bandwidth), *ports),
        stdin=subprocess.PIPE,  # it ends when this process lets go of it
        pass_fds=tuple(devices.values()),
        start_new_session=True,
    ):
        yield spaces


class ClusterApart(LocalCluster):
    """A local cluster whose roles run in these namespaces, the user in that of this process."""

    def __init__(self, spaces: Mapping[str, int], folder: Path, options: Options) -> None:
        super().__init__(folder, options)
        self._spaces = spaces

    def host(self, role: str) -> str:
        return str(THERE[role].ip) if role in THERE else super().host(role)

    def _launch(self, role: str) -> None:
        if role not in self._spaces:
            super()._launch(role)
            return
        with namespaces.inside(self._spaces[role]):
            super()._launch(role)


def main(wanted: str) -> None:
    """wanted: link, runs and what `session` takes, as JSON. Raises TwinveilError, too, for a wrong answer."""
    given = json.loads(wanted)
    link, runs, name = Link(*given.pop("link")), given.pop("runs"), given["name"]
    folder, model_folder = Path(given.pop("folder")), Path(given.pop("model_folder"))
    model = load_model(model_folder).model
    with (
        joined(link) as spaces,
        session(folder, model_folder, **given, prepare=ITEMS, start=partial(ClusterApart, spaces)) as running,
    ):
        for number, picture in enumerate(some_pictures(model.plan, WARM_UP + runs)):
            if number:  # none is made before the first picture of a model
                running.wait_ready(ITEMS)
            query = running.classify([picture])
            if query.vectors[0] != tuple(oracle.run(model, picture)):
                raise TwinveilError(f"{name}: a wrong class vector came over the link")
            if number >= WARM_UP:
                print(query.seconds, flush=True)


if __name__ == "__main__":
    sys.exit(guarded(partial(main, sys.argv[1])))
