"""What the key holder can read from nonces: nothing. And three engines that get it wrong, each found out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gmpy2
import pytest
from gmpy2 import mpz

from tests.networks import random_image
from tests.security.nonces import Nonces, full_findings, halves_of, numbers
from tests.security.peers import Watching
from tests.security.smooth import SmoothKey, smooth_key
from tests.security.world import World, filled, tiny_model
from twinveil.crypto import nonces as module
from twinveil.crypto.native.residues import Residues
from twinveil.crypto.nonces import Encryptor, FreshCiphertexts, NonceSource, Rerandomiser
from twinveil.halves.ring import kernel_segments
from twinveil.network.plan import Conv, Dense, Plan, QuantisedModel, Relu
from twinveil.parallel import INLINE, Workers

pytestmark = pytest.mark.slow

QUERIES = 4


def wide_model() -> QuantisedModel:
    """Many sums: a hundred nonces a query."""
    plan = Plan(
        (1, 7, 7),
        8,
        (
            Conv("conv", "image", 6, (3, 3), 1, 0, 8, 20),
            Relu("relu", "conv", 4, 8),
            Dense("dense", "relu", 2, 8, 24),
        ),
        0,
    )
    return filled(plan)


@pytest.fixture
def key() -> SmoothKey:
    return smooth_key()


def conversations(
    root: Path,
    key: SmoothKey,
    model: QuantisedModel,
    engine: str = "packed",
    queries: int = QUERIES,
    label_only: bool = False,
) -> tuple[Nonces, list[int]]:
    """An import and a few queries: all nonces, and the weights' halves A, to which S1 raised S2's own."""
    world, watched = World(root, key.secret), list[Watching]()
    width = world.public.bits // 8

    def watch(inner: object) -> Watching:
        watched.append(Watching(inner))  # type: ignore[arg-type]
        return watched[-1]

    world.wrap = watch
    halves = world.halves(model, (engine,))
    world.outsource(model, halves, engines=(engine,))
    kernels = kernel_segments(model.plan, world.params.key_bits).values()
    exponents = halves_of(halves[0][: sum(each.plaintexts for each in kernels) * width], width)
    for seed in range(queries):
        query = world.query(model.plan, random_image(model.plan, seed), engine=engine, label_only=label_only)
        world.ask(query)
    found = Nonces(key)
    for peer in watched:
        found.add(peer)
    return found, exponents


def test_packed_nonces_are_fresh_and_uniform(tmp_path: Path, key: SmoothKey) -> None:
    nonces, halves = conversations(tmp_path, key, wide_model())
    assert sum(len(each) for each in nonces.sent.values()) > 150
    assert len(nonces.sent["item_offer"]) > 140
    assert not nonces.findings(halves)


def test_textbook_nonces_are_fresh_and_uniform(tmp_path: Path, key: SmoothKey) -> None:
    nonces, _ = conversations(tmp_path, key, tiny_model(), "textbook")
    sent = nonces.sent["smp_operands"] + nonces.sent["masked_sums"]
    assert len(sent) > 150
    assert not full_findings(key, sent)
    assert not {c % key.secret.public_key.n for c in sent} & {
        c % key.secret.public_key.n for c in nonces.made
    }


SENT = {
    "packed": {"masked_kernel", "item_offer"},
    "textbook": {"masked_plaintexts", "masked_sums", "smp_operands"},
}
"""Steps in which S1 sends ciphertexts."""


@pytest.mark.parametrize("engine", SENT)
@pytest.mark.parametrize("label_only", [False, True])
def test_all_that_s1_sends_is_minted_with_full_nonces(
    tmp_path: Path, key: SmoothKey, monkeypatch: pytest.MonkeyPatch, engine: str, label_only: bool
) -> None:
    """Ciphertext by ciphertext: few short ones among many would pass statistics."""
    width = key.secret.public_key.ciphertext_bytes
    full: list[int] = []

    def watched(mint: Callable[..., FreshCiphertexts]) -> Callable[..., FreshCiphertexts]:
        def minting(source: NonceSource, *arguments: Any, **options: Any) -> FreshCiphertexts:
            made = mint(source, *arguments, **options)
            if source.reach == "full":
                full.extend(numbers(made.to_bytes(), width))
            return made

        return minting

    monkeypatch.setattr(NonceSource, "_multiply", watched(NonceSource._multiply))
    monkeypatch.setattr(Rerandomiser, "freshen_fully", watched(Rerandomiser.freshen_fully))
    nonces, _ = conversations(tmp_path, key, tiny_model(), engine, 1, label_only)
    assert {body for body, sent in nonces.sent.items() if sent} == SENT[engine]
    assert sorted(each for sent in nonces.sent.values() for each in sent) == sorted(full)


class TestControls:
    """The same checks, on engines that are wrong: each is seen."""

    def test_no_rerandomisation(
        self, tmp_path: Path, key: SmoothKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stale(
            self: Rerandomiser, values: Residues | Sequence[mpz], *_: object, **__: object
        ) -> FreshCiphertexts:
            kept = values if isinstance(values, Residues) else self.public_key.modulus().residues(values)
            return FreshCiphertexts(module._MINT, kept)

        monkeypatch.setattr(Rerandomiser, "freshen", stale)
        nonces, halves = conversations(tmp_path, key, wide_model(), queries=1)
        assert {"a power of S2's own nonce", "not uniform"} <= nonces.findings(halves)

    def test_short_exponents_towards_the_key_holder(
        self, tmp_path: Path, key: SmoothKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Rerandomiser, "reach", "short")
        nonces, halves = conversations(tmp_path, key, wide_model(), queries=1)
        assert nonces.findings(halves) == {"not uniform"}

    def test_nth_powers_mixed_with_powers_of_h(
        self, tmp_path: Path, key: SmoothKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def mixed(
            self: Encryptor, plaintexts: Sequence[int], nonces: object = None, workers: Workers = INLINE
        ) -> FreshCiphertexts:
            public = self.public_key
            values = []
            for m in plaintexts:
                r = mpz(secrets.randbelow(int(public.n) - 1) + 1)
                values.append(public.raw(m) * gmpy2.powmod(r, public.n, public.n_squared) % public.n_squared)
            return FreshCiphertexts(module._MINT, public.modulus().residues(values))

        monkeypatch.setattr(Encryptor, "encrypt", mixed)
        nonces, halves = conversations(tmp_path, key, wide_model(), queries=1)
        assert "a nonce outside <h>" in nonces.findings(halves)

    @pytest.mark.heavy
    def test_one_nonce_for_all(self, tmp_path: Path, key: SmoothKey, monkeypatch: pytest.MonkeyPatch) -> None:
        once = NonceSource._draw

        def same(self: NonceSource, count: int, workers: Workers) -> Residues:
            wrong = isinstance(self, Rerandomiser)
            return Residues.joined([once(self, 1, workers)] * count) if wrong else once(self, count, workers)

        monkeypatch.setattr(NonceSource, "_draw", same)
        nonces, halves = conversations(tmp_path, key, wide_model(), queries=1)
        assert nonces.findings(halves)
