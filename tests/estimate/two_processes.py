"""Both clouds in fresh processes, one each: how much memory a textbook query takes at either, and an item.

The objects are the real ones at full size. In the textbook's query powers are left out (a power is replaced
by a square), which changes no number's length, so that thousands of products take seconds; answers are
nonsense.
"""

from __future__ import annotations

import multiprocessing
import secrets
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gmpy2
import numpy as np
from gmpy2 import mpz

from tests.crypto.crypto_keys import secret_key, toy
from twinveil.crypto import secret_key as secret_key_module
from twinveil.crypto.nonces import Encryptor, Rerandomiser
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import Tally
from twinveil.halves.blinding import picture_segment
from twinveil.network.plan import Plan
from twinveil.parallel import INLINE
from twinveil.protocol.binding import Claim, QueryHead
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.conversation import items_s2
from twinveil.protocol.packed.item.s1 import MakerS1
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.model.s1 import ModelS1 as PackedS1
from twinveil.protocol.packed.model.s2 import ModelS2 as PackedS2
from twinveil.protocol.packed.powers import Machine
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.textbook.query.s1 import query_s1
from twinveil.protocol.textbook.query.s2 import query_s2
from twinveil.rehearsal.clouds import finish
from twinveil.ring import uniform
from twinveil.rounds.scripted import Script
from twinveil.rpc.rounds_pb2 import Round

IMPORT_ID = bytes(16)
WARM_UP = 2
"""Items that are made before memory is looked at: tables, and what a process loads late."""

Run = Callable[[], object]
Side = Callable[[Connection, Plan, SecretKey], tuple[Run, Run]]
"""A cloud's end: what it does before memory is looked at, and what is measured."""


def query_growth(plan: Plan, key_bits: int) -> dict[str, int]:
    """Bytes by which each cloud's process grew with a textbook query, at its peak, by role."""
    return _growth({"cloud_s1": _query_s1, "cloud_s2": _query_s2}, "VmHWM", plan, key_bits)


def items_growth(plan: Plan, key_bits: int, count: int) -> dict[str, int]:
    """Bytes by which each cloud's process grew with so many items that lie ready, by role."""
    sides = {"cloud_s1": _items_s1, "cloud_s2": _items_s2}
    return _growth(sides, "VmRSS", plan, key_bits, count)


def _growth(sides: dict[str, Any], what: str, plan: Plan, key_bits: int, *more: int) -> dict[str, int]:
    context = multiprocessing.get_context("spawn")
    ends = context.Pipe()
    jwk = secret_key(key_bits).to_jwk()
    found: dict[str, int] = {}
    children = {}
    for (role, side), end in zip(sides.items(), ends, strict=True):
        report, result = context.Pipe(duplex=False)
        given = (side, what, end, result, plan, key_bits, jwk, more)
        child = context.Process(target=_measured, args=given, daemon=True)
        child.start()
        result.close()
        children[role] = (child, report)
    for end in ends:
        end.close()
    for role, (child, report) in children.items():
        found[role] = report.recv()
        child.join()
    return found


def _measured(
    side: Callable[..., tuple[Run, Run]],
    what: str,
    peer: Connection,
    result: Connection,
    plan: Plan,
    key_bits: int,
    jwk: dict[str, Any],
    more: tuple[int, ...],
) -> None:
    warm, run = side(peer, plan, SecretKey.from_jwk(jwk, toy(key_bits)), *more)
    warm()
    before = _status("VmRSS")
    kept = run()
    result.send(_status(what) - before)
    del kept


def _status(name: str) -> int:
    """Bytes that the kernel counts for this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


class _Pipe:
    """S1's Peer over a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, message: Round) -> Round:
        self._connection.send_bytes(message.SerializeToString())
        return Round.FromString(self._connection.recv_bytes())

    def close(self) -> None:
        self._connection.close()


def _without_powers() -> None:
    def square(base: int, exponent: int, modulus: int) -> mpz:
        return mpz(base) * base % modulus

    gmpy2.powmod = square
    vars(secret_key_module)["powers"] = lambda works, *_: [numbers for numbers, _ in works]
    SecretKey._verify = lambda self, values, plaintexts: None  # type: ignore[method-assign]


def _query_s1(connection: Connection, plan: Plan, key: SecretKey) -> tuple[Run, Run]:
    _without_powers()
    public, params, peer = key.public_key, toy(key.public_key.bits), _Pipe(connection)
    model, meter = ModelS1(ImportLayout(plan, params)), Meter()
    for node in plan.linear_nodes:
        shape = plan.weight_shape(node)
        model.kernels[node.name] = _units(public, int(np.prod(shape)))
        model.biases[node.name] = _units(public, shape[0])

    def run() -> None:
        finish(query_s1(peer.ask, model, _head(plan), _half(plan, public), public, params, meter))
        peer.close()

    return lambda: Rerandomiser(public, Tally()).freshen([mpz(1)]), run


def _query_s2(connection: Connection, plan: Plan, key: SecretKey) -> tuple[Run, Run]:
    _without_powers()
    layout = ImportLayout(plan, toy(key.public_key.bits))
    half: Sequence[mpz] = _half(plan, key.public_key)
    claim = Claim(_head(plan), half, lambda answer: None)

    def run() -> None:
        opening = Round.FromString(connection.recv_bytes()).open_query
        meter = Meter(tally=key.tally)
        _answer(connection, query_s2(opening, layout, key, INLINE, lambda *_: claim, False, meter))

    return lambda: key.encrypt([1]), run


def _answer(connection: Connection, script: Script) -> None:
    reply = next(script)
    while True:
        connection.send_bytes(reply.SerializeToString())
        try:
            reply = script.send(Round.FromString(connection.recv_bytes()))
        except (EOFError, StopIteration):
            return


def _items_s1(connection: Connection, plan: Plan, key: SecretKey, count: int) -> tuple[Run, Run]:
    layout, public = ModelLayout(plan, key.public_key.bits), key.public_key
    model, encryptor = PackedS1(layout, *_shares(plan)), Encryptor(public, Tally(), MORE_TOWARDS_S1)
    for name, layer in layout.item.layers.items():
        bases = layer.kernel.chunks * layer.kernel.bases
        model.encrypted[name] = public.parse(encryptor.encrypt([0] * bases).to_bytes(), bases)
    peer = _Pipe(connection)
    maker = MakerS1(peer, IMPORT_ID, model, layout.items, Machine(public, INLINE))

    def warm() -> list[Any]:
        return [maker.make() for _ in range(WARM_UP)]

    def run() -> list[Any]:
        made = [maker.make() for _ in range(count)]
        peer.close()
        return made

    return warm, run


def _items_s2(connection: Connection, plan: Plan, key: SecretKey, count: int) -> tuple[Run, Run]:
    model = PackedS2(ModelLayout(plan, key.public_key.bits), *_shares(plan))
    opening = Round.FromString(connection.recv_bytes()).open_items
    shelves = Shelves()
    script = items_s2(opening, model, key, shelves, label_only=False)
    connection.send_bytes(next(script).SerializeToString())

    def play(most: int) -> Shelves:
        while shelves.count < most:
            request = Round.FromString(connection.recv_bytes())
            connection.send_bytes(script.send(request).SerializeToString())
        return shelves

    return lambda: play(WARM_UP), lambda: play(WARM_UP + count)


def _shares(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of weights and of biases: any will do."""
    shapes = {node.name: (plan.weight_shape(node), node.accumulator_bits) for node in plan.linear_nodes}
    kernels = {name: uniform(shape, bits) for name, (shape, bits) in shapes.items()}
    return kernels, {name: uniform(shape[:1], bits) for name, (shape, bits) in shapes.items()}


def _head(plan: Plan) -> QueryHead:
    return QueryHead(bytes(16), "user", IMPORT_ID, plan.hash, "textbook", False, 1)


def _units(key: PublicKey, count: int) -> list[mpz]:
    return [mpz(secrets.randbelow(int(key.n_squared) - 1) + 1) for _ in range(count)]


def _half(plan: Plan, key: PublicKey) -> list[mpz]:
    count = picture_segment(plan, 1, key_bits=key.bits, sigma=40).plaintexts
    return [mpz(secrets.randbelow(int(key.n) - 1) + 1) for _ in range(count)]
