"""What security costs, as ratios in one run: mutual TLS, checks of ciphertexts.

Both clusters run at the same time and get the same pictures in turn, so that whatever else the machine does
meets both alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from together.bench.networks import some_pictures
from together.bench.picture import Say, Wanted, spread
from together.bench.session import Query, Session, verb
from twinveil.crypto.calibration import calibrate
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import Tally
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.local_folder import NAME
from twinveil.verbs.serve_all import cluster_options
from user.client import Client
from user.contact import Contact

PLAINTEXT = "insecure-plaintext"
"""The folder, beside the keys and models of the other cluster."""


def measure_security(wanted: Wanted, say: Say) -> dict[str, Any]:
    """Ratios, each with what it is made of; 1.0 is free. One picture a query, nothing made ahead."""
    tls, plain = _queries(wanted, say)
    cpu = statistics.median(map(_cpu, tls))
    return {
        "mutual_tls": _ratio([each.seconds for each in tls], [each.seconds for each in plain]),
        "mutual_tls_processor": _ratio([_cpu(each) for each in tls], [_cpu(each) for each in plain]),
        "checks": _checks(wanted, cpu),
    }


def _queries(wanted: Wanted, say: Say) -> tuple[list[Query], list[Query]]:
    pictures = some_pictures(wanted.plan, wanted.repeats + 1)
    made: tuple[list[Query], list[Query]] = [], []
    with wanted.session() as tls, _insecure(wanted) as plain:
        for number, picture in enumerate(pictures):
            for queries, running in zip(made, (tls, plain), strict=True):
                queries.append(running.classify([picture]))
            say(f"with and without TLS, picture {number + 1} of {len(pictures)}")
    return made[0][1:], made[1][1:]  # the first makes tables and wakes workers


@contextmanager
def _insecure(wanted: Wanted) -> Iterator[Session]:
    """The same roles in plaintext on loopback."""
    params = wanted.params
    common = cluster_options(params.key_bits, params.insecure_small_key)
    own = [f"--workers={wanted.workers}"]
    flags = {role: [*common[role], *(own if role.startswith("cloud") else [])] for role in common}
    flags["cloud_s1"].append("--prepare=0")
    with LocalCluster(wanted.folder / PLAINTEXT, flags, insecure_plaintext=True) as cluster:
        settings = {role: cluster.addresses[role] for role in ("cloud_s1", "cloud_s2")}
        settings |= {"state": str(cluster.state("owner")), "name": NAME}
        _outsource(wanted, settings)
        reach: dict[str, Any] = settings | {"owner": cluster.addresses["owner"]}
        reach |= {"state": str(cluster.state("user")), "insecure_plaintext": True}
        contact = Contact.configured(None, **reach, insecure_small_key=params.insecure_small_key)
        with Client(contact) as client:
            yield Session(cluster, client, wanted.model)


def _outsource(wanted: Wanted, settings: Mapping[str, str]) -> None:
    reach = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "name"]
    reach += ["--insecure-plaintext"]
    reach += ["--insecure-small-key"] if wanted.params.insecure_small_key else []
    for row in verb("models", *reach):
        verb("remove", row["model"], row["version"], *reach)
    verb("outsource", str(wanted.model_folder), "--name", wanted.model, "--version", "1", *reach)


def _ratio(with_: list[float], without: list[float]) -> dict[str, Any]:
    """Of medians; pairs: the ratios of queries for the same picture."""
    return {
        "ratio": statistics.median(with_) / statistics.median(without),
        "pairs": spread([a / b for a, b in zip(with_, without, strict=True)]),
        "seconds": spread(with_),
        "seconds_without": spread(without),
    }


def _cpu(query: Query) -> float:
    """Processor seconds of both clouds."""
    return sum(query.cpu.values())


def checked(plan: Plan, params: Params) -> dict[str, int]:
    """Ciphertexts of one item that each cloud checks; S2 does so when they come and before it decrypts."""
    layout = ModelLayout(plan, params.key_bits).item
    return {"cloud_s1": layout.encryptions, "cloud_s2": 2 * layout.sums}


def _checks(wanted: Wanted, cpu: float) -> dict[str, Any]:
    """Counts times calibrated cost, against the processor time of both clouds."""
    counts = checked(wanted.plan, wanted.params)
    tally = Tally()
    for count in counts.values():
        tally += PublicKey.check_counts(count)
    seconds = tally.seconds(calibrate(wanted.params.key_bits))
    return {"ratio": cpu / (cpu - seconds), "ciphertexts": counts, "seconds": seconds, "of_seconds": cpu}
