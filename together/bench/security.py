"""What security costs, as ratios in one run: mutual TLS, checks of ciphertexts, powers in constant time.

Both clusters run at the same time and get the same pictures in turn, so that whatever else the machine does
meets both alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gmpy2
from gmpy2 import mpz

from together.bench.networks import some_pictures
from together.bench.picture import Say, Wanted, spread
from together.bench.session import Query, Session, verb
from twinveil.crypto.calibration import calibrate, time_of
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import Tally
from twinveil.estimate.packed import shares
from twinveil.halves.blinding import picture_segment
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.local_folder import NAME
from twinveil.verbs.serve_all import cluster_options
from user.client import Client
from user.contact import Contact

ROUNDS = 15
PLAINTEXT = "insecure-plaintext"
"""The folder, beside the keys and models of the other cluster."""


def measure_security(wanted: Wanted, say: Say) -> dict[str, Any]:
    """Ratios, each with what it is made of; 1.0 is free. One picture a query, nothing prepared ahead."""
    tls, plain = _queries(wanted, say)
    say("powers in constant time")
    cpu = statistics.median(map(_cpu, tls))
    return {
        "mutual_tls": _ratio([each.seconds for each in tls], [each.seconds for each in plain]),
        "mutual_tls_processor": _ratio([_cpu(each) for each in tls], [_cpu(each) for each in plain]),
        "checks": _checks(wanted, cpu),
        "powmod_sec": _constant_time(wanted, cpu),
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
    """Ciphertexts of one query that each cloud checks; S2 does so when they come and before it decrypts."""
    layers = list(PackedLayout(plan, params.key_bits, params.sigma).layers.values())
    segment = picture_segment(plan, 1, key_bits=params.key_bits, sigma=params.sigma)
    sums = sum(layer.ahead_sums + layer.online_sums for layer in layers)
    return {
        "cloud_s1": segment.plaintexts + sum(map(shares, layers)),
        "cloud_s2": 2 * (segment.plaintexts + sums),
    }


def _checks(wanted: Wanted, cpu: float) -> dict[str, Any]:
    """Counts times calibrated cost, against the processor time of both clouds."""
    counts = checked(wanted.plan, wanted.params)
    tally = Tally()
    for count in counts.values():
        tally += PublicKey.check_counts(count)
    seconds = tally.seconds(calibrate(wanted.params.key_bits))
    return {"ratio": cpu / (cpu - seconds), "ciphertexts": counts, "seconds": seconds, "of_seconds": cpu}


def _constant_time(wanted: Wanted, cpu: float) -> dict[str, Any]:
    """A decryption is two powers; the ratio is that of the whole query, `power` that of one power."""
    power = _powers(wanted.params.key_bits)
    count = checked(wanted.plan, wanted.params)["cloud_s2"]  # twice a ciphertext, as powers are
    one = power["seconds"]["median"] - power["seconds_without"]["median"]
    return {"ratio": cpu / (cpu - count * one), "powers": count, "power": power, "of_seconds": cpu}


def _powers(key_bits: int) -> dict[str, Any]:
    """One x^(p-1) mod p^2, by gmpy2's powmod_sec and powmod in turn; any odd numbers of full size will do."""
    half = key_bits // 2
    p = (mpz(3) << (half - 2)) + (mpz(1) << (half // 3)) + 1
    square, x = p * p, (mpz(5) << (key_bits - 4)) + 7
    secret, plain = [], []
    for _ in range(ROUNDS):
        secret.append(time_of(lambda: gmpy2.powmod_sec(x, p - 1, square), 2, rounds=1))
        plain.append(time_of(lambda: gmpy2.powmod(x, p - 1, square), 2, rounds=1))
    return _ratio(secret, plain)
