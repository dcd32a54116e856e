"""One textbook query between two fresh processes, a cloud each: how much memory it takes at either.

The objects are the real ones at full size; only powers are left out (a power is replaced by a square), which
changes no number's length, so that thousands of products take seconds. Answers are nonsense.
"""

from __future__ import annotations

import multiprocessing
import secrets
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import gmpy2
import phe
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key, toy
from twinveil.crypto import secret_key as secret_key_module
from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.halves.blinding import picture_segment
from twinveil.network.plan import Plan
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.binding import QueryHead
from twinveil.protocol.query.engines import QueryPlan, query_plan
from twinveil.protocol.textbook.query.s1 import QueryS1, Tools
from twinveil.protocol.textbook.query.s2 import query
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.rehearsal.clouds import Claimed, finish
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES
from twinveil.rpc.rounds_pb2 import OpenQuery, Round

IMPORT_ID = bytes(16)


def growth(plan: Plan, key_bits: int) -> dict[str, int]:
    """Bytes by which each cloud's process grew, at its peak, by role."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    jwk = secret_key(key_bits).to_jwk()
    found: dict[str, int] = {}
    children = {}
    for role, side, end in (("cloud_s1", _s1, mine), ("cloud_s2", _s2, theirs)):
        report, result = context.Pipe(duplex=False)
        child = context.Process(target=_measured, args=(side, end, result, plan, key_bits, jwk), daemon=True)
        child.start()
        result.close()
        children[role] = (child, report)
    mine.close()
    theirs.close()
    for role, (child, report) in children.items():
        found[role] = report.recv()
        child.join()
    return found


def _measured(
    side: Callable[..., Callable[[], object]],
    peer: Connection,
    result: Connection,
    plan: Plan,
    key_bits: int,
    jwk: dict[str, Any],
) -> None:
    _without_powers()
    run = side(peer, plan, key_bits, jwk)
    before = _status("VmRSS")
    run()
    result.send(_status("VmHWM") - before)


def _without_powers() -> None:
    def square(base: int, exponent: int, modulus: int) -> mpz:
        return mpz(base) * base % modulus

    gmpy2.powmod = square
    phe.paillier.powmod = square
    secret_key_module.powers = lambda works, _: [numbers for numbers, _ in works]
    SecretKey._verify = lambda self, values, plaintexts: None


def _status(name: str) -> int:
    """Bytes that the kernel counts for this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


def _head(plan: Plan) -> QueryHead:
    return QueryHead(bytes(16), "user", IMPORT_ID, plan.hash, "textbook", False, 1)


def _planned(plan: Plan, params: Params) -> QueryPlan:
    return query_plan(plan, params, "textbook", limit=None)


class _Pipe:
    """S1's Peer over a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, message: Round) -> Round:
        self._connection.send_bytes(message.SerializeToString())
        return Round.FromString(self._connection.recv_bytes())

    def close(self) -> None:
        self._connection.close()


def _s1(peer: Connection, plan: Plan, key_bits: int, jwk: dict[str, Any]) -> Callable[[], object]:
    params = toy(key_bits)
    key = PublicKey.from_jwk(jwk["pub"], params)
    model = ModelS1(ImportLayout(plan, params, ("textbook",)))
    for node in plan.linear_nodes:
        shape = plan.weight_shape(node)
        size = shape[0] * plan.taps(node)
        model.kernels["textbook", node.name] = _units(key, size)
        model.biases["textbook", node.name] = _units(key, shape[0])
    counted = CountedPeer(_Pipe(peer))
    meter = Meter(counted)
    planned = _planned(plan, params)
    Rerandomiser(key, meter.tally).prepare()
    engine = TextbookS1(model, planned.layout, key, meter)
    opening = OpenQuery(
        protocol_version=ROUNDS_VERSION,
        session_id=bytes(SESSION_BYTES),
        import_id=IMPORT_ID,
        engine="textbook",
        pictures=1,
    )
    asked = QueryS1(counted, opening, planned, engine, Tools(key, INLINE, params), meter)

    def run() -> None:
        asked.prepare()
        finish(asked.classify(_head(plan), _half(plan, key_bits, key)))
        counted.close()

    return run


def _s2(peer: Connection, plan: Plan, key_bits: int, jwk: dict[str, Any]) -> Callable[[], object]:
    params = toy(key_bits)
    key = SecretKey.from_jwk(jwk, params)
    planned = _planned(plan, params)
    engine = TextbookS2(planned.layout, key, INLINE, Meter(tally=key.tally))
    claimed = Claimed(_head(plan), _half(plan, key_bits, key.public_key))
    key.nonces(1)  # makes the table

    def run() -> None:
        opening = Round.FromString(peer.recv_bytes()).open_query
        meter = Meter(tally=key.tally)
        script = query(opening, planned, engine, key, INLINE, lambda *_: claimed, False, meter)
        reply = next(script)
        while True:
            peer.send_bytes(reply.SerializeToString())
            try:
                reply = script.send(Round.FromString(peer.recv_bytes()))
            except (EOFError, StopIteration):
                return

    return run


def _units(key: PublicKey, count: int) -> list[mpz]:
    return [mpz(secrets.randbelow(int(key.n_squared) - 1) + 1) for _ in range(count)]


def _half(plan: Plan, key_bits: int, key: PublicKey) -> list[mpz]:
    count = picture_segment(plan, 1, key_bits=key_bits, sigma=40).plaintexts
    return [mpz(secrets.randbelow(int(key.n) - 1) + 1) for _ in range(count)]
