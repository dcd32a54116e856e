"""The published SMP, measured: one thread, full-length r^N, real code of both sides over MemoryPeer.

`python -m together.bench.textbook KEY_BITS RUNS` prints seconds of a product, a figure a run, as JSON.
"""

from __future__ import annotations

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

import json
import secrets
import sys
from collections.abc import Mapping

from together.bench.dialogue import Run, play
from twinveil.crypto.keygen import generate
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import Tally
from twinveil.errors import TwinveilError
from twinveil.network.plan import IMAGE, Dense, Plan
from twinveil.parallel import INLINE
from twinveil.params import MIN_KEY_BITS, Params
from twinveil.protocol.meter import Meter
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.model.s1 import ModelS1
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.rehearsal.clouds import finish
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import Script
from twinveil.rpc import rounds_pb2 as pb

PRODUCTS = 20


class TextbookSmp:
    """Both sides of SMP under one key."""

    def __init__(self, key: SecretKey, params: Params) -> None:
        self._key = key
        self._layout = TextbookLayout(Plan((1, 1, 2), 8, (Dense("dense", IMAGE, 2, 8, 20),), 0), params)
        self.tally = Tally()
        model = ModelS1(ImportLayout(self._layout.plan, params))
        self._s1 = TextbookS1(model, self._layout, key.public_key, Meter(tally=self.tally))

    def run(self, products: int) -> Run:
        """That many products; every one is checked."""
        s2 = TextbookS2(self._layout, self._key, INLINE, Meter(tally=self._key.tally))
        values = [secrets.randbelow(1 << 16) for _ in range(2 * products)]
        encryptor = Encryptor(self._key.public_key, Tally())
        sent = self._key.public_key.parse(encryptor.encrypt(values).to_bytes(), len(values))
        got = []

        def ask_all(ask: Ask) -> None:
            got.extend(finish(self._s1.smp(ask, "SMP", sent[:products], sent[products:])))

        def answer(request: pb.Round) -> Script:
            yield from s2.products("SMP", products, request)

        made = play(ask_all, answer)
        wanted = [a * b for a, b in zip(values[:products], values[products:], strict=True)]
        if self._key.decrypt(got) != wanted:
            raise TwinveilError("the textbook SMP gave a wrong product")
        return made


def function_products(plan: Plan, params: Params) -> Mapping[str, int]:
    """SMPs of one picture by function: taps of every layer without padding, and those of SACT and SMAP."""
    return TextbookLayout(plan, params, limit=None).smps


def product_seconds(params: Params, runs: int) -> list[float]:
    """Of a product: a figure for each run of PRODUCTS, after one that makes the table of nonces."""
    smp = TextbookSmp(generate(params), params)
    return [smp.run(PRODUCTS).seconds / PRODUCTS for _ in range(1 + runs)][1:]


if __name__ == "__main__":
    bits, runs = (int(each) for each in sys.argv[1:])
    print(json.dumps(product_seconds(Params(bits, insecure_small_key=bits < MIN_KEY_BITS), runs)))
