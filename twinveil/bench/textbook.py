"""The published SMP, measured: one thread, full-length r^N, real code of both sides over MemoryPeer."""

from __future__ import annotations

import secrets
import time

from twinveil.crypto.nonces import Encryptor, Rerandomiser
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import Tally
from twinveil.errors import TwinveilError
from twinveil.estimate.query import estimate
from twinveil.net.counted import CountedPeer
from twinveil.net.memory import MemoryPeer
from twinveil.parallel import INLINE
from twinveil.params import Params
from twinveil.plan import IMAGE, Dense, Plan
from twinveil.protocol.conversation import Script, Scripted
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.layout import ImportLayout
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.rpc import rounds_pb2 as pb

PRODUCTS = 20


class TextbookSmp:
    """Both sides of SMP under one key."""

    def __init__(self, key: SecretKey, params: Params) -> None:
        self._key = key
        self._layout = TextbookLayout(Plan((1, 1, 2), 8, (Dense("dense", IMAGE, 2, 8, 20),), 0), params)
        self.tally = Tally()
        rerandomiser = Rerandomiser(key.public_key, self.tally)
        model = ModelS1(ImportLayout(self._layout.plan, params, ("textbook",)))
        self._s1 = TextbookS1(model, self._layout, key.public_key, rerandomiser, self.tally)

    def run(self, products: int) -> tuple[float, CountedPeer]:
        """Seconds of both sides for that many products, and the traffic; every product is checked."""
        s2 = TextbookS2(self._layout, self._key, INLINE, Meter(tally=self._key.tally))

        def script(request: pb.Round) -> Script:
            yield from s2.products("SMP", products, request)

        peer = CountedPeer(MemoryPeer(Scripted(script)))
        values = [secrets.randbelow(1 << 16) for _ in range(2 * products)]
        encryptor = Encryptor(self._key.public_key, Tally())
        sent = self._key.public_key.parse(encryptor.encrypt(values).to_bytes(), len(values))
        start = time.perf_counter()
        made = self._s1.smp(peer.ask, sent[:products], sent[products:])
        seconds = time.perf_counter() - start
        wanted = [a * b for a, b in zip(values[:products], values[products:], strict=True)]
        if self._key.decrypt(made) != wanted:
            raise TwinveilError("the textbook SMP gave a wrong product")
        return seconds, peer


def function_products(plan: Plan, params: Params) -> dict[str, int]:
    """SMPs of one picture by function: taps of every layer without padding, and those of SACT and SMAP."""
    costs = estimate(plan, params, "textbook")
    return {name: cost.products for name, cost in costs.items() if cost.products}
