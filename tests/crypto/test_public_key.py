"""Only honest moduli and units get in, only fresh ciphertexts get out."""

from __future__ import annotations

import copy
import json
import pickle
import secrets
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import phe
import phe.command_line
import pytest
from gmpy2 import gcd, jacobi, mpz, powmod
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crypto.crypto_keys import secret_key, toy
from twinveil.crypto import nonces
from twinveil.crypto.keygen import generate
from twinveil.crypto.nonces import Encryptor, FreshCiphertexts, Rerandomiser, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.errors import InvalidCiphertext, InvalidKey
from twinveil.parallel import Workers
from twinveil.params import Params

VECTORS = Path(__file__).parent.parent / "vectors"
KEY = secret_key()
PUBLIC = KEY.public_key


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


@pytest.mark.parametrize("case", vectors("public_keys_malformed.json"), ids=lambda case: str(case["name"]))
def test_malformed_public_keys_are_refused(case: dict[str, Any]) -> None:
    params = Params(case["bits"], insecure_small_key=True)
    with pytest.raises(InvalidKey, match=case["error"]):
        PublicKey.checked(int(case["n"], 16), int(case["h"], 16), params)


@pytest.mark.parametrize(
    "case", vectors("ciphertexts_malformed.json")["cases"], ids=lambda case: case["name"]
)
def test_malformed_ciphertexts_are_refused(case: dict[str, Any]) -> None:
    """Before any power: secret-key operations stay 0, by way of the wire and by way of integers."""
    key = SecretKey.from_jwk(vectors("ciphertexts_malformed.json")["key"], toy())
    data = bytes.fromhex(case["data"])
    with pytest.raises(InvalidCiphertext, match=case["error"]):
        key.public_key.parse(data, case["count"])
    with pytest.raises(InvalidCiphertext, match=case["error"]):
        key.public_key.parse_array(data, case["count"], Tally())
    width = key.public_key.ciphertext_bytes
    if len(data) == case["count"] * width:
        values = [mpz.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]
        with pytest.raises(InvalidCiphertext):
            key.decrypt(values)
    with pytest.raises(InvalidCiphertext):
        key.decrypt([mpz(-1)])
    assert key.operations == 0


def test_known_answer() -> None:
    """Bytes on the wire, fingerprint and plaintexts are pinned."""
    case = vectors("known_answers.json")
    key = SecretKey.from_jwk(case["key"], toy())
    assert key.public_key.fingerprint == case["fingerprint"]
    data = bytes.fromhex(case["ciphertexts"])
    assert key.decrypt(key.public_key.parse(data, len(case["plaintexts"]))) == [
        int(m, 16) for m in case["plaintexts"]
    ]
    for plaintext, exponent, start in zip(
        case["plaintexts"], case["exponents"], range(0, len(data), 64), strict=True
    ):
        nonce = powmod(key.public_key.h, int(exponent, 16), key.public_key.n_squared)
        ciphertext = key.public_key.raw(int(plaintext, 16)) * nonce % key.public_key.n_squared
        assert ciphertext.to_bytes(64, "big") == data[start : start + 64]


@pytest.mark.parametrize("bits", [256, 2048])
def test_honest_keys_are_taken(bits: int) -> None:
    public = secret_key(bits).public_key
    assert PublicKey.checked(public.n, public.h, toy(bits)) == public
    assert public.bits == bits
    assert public.plaintext_bits == bits - 1
    assert public.ciphertext_bytes == bits // 4


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidKey, match="512 are agreed"):
        PublicKey.checked(PUBLIC.n, PUBLIC.h, toy(512))


def test_jwk_round_trip_and_phe() -> None:
    jwk = PUBLIC.to_jwk()
    assert PublicKey.from_jwk(json.loads(json.dumps(jwk)), toy()) == PUBLIC
    theirs = phe.command_line.load_public_key(jwk)
    assert theirs.n == PUBLIC.n == PUBLIC.to_phe().n


@pytest.mark.parametrize(
    "change",
    [
        {"n": None},
        {"n": 5},
        {"n": ""},
        {"n": "a b"},
        {"h": "AAAAA"},
        {"h": None},
        {"kty": "RSA"},
        {"alg": "x"},
    ],
    ids=str,
)
def test_damaged_jwks_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidKey):
        PublicKey.from_jwk(PUBLIC.to_jwk() | change, toy())


def test_fingerprints_name_both_numbers() -> None:
    other = PublicKey(PUBLIC.n, PUBLIC.h * PUBLIC.h % PUBLIC.n_squared)
    assert len({PUBLIC.fingerprint, other.fingerprint, secret_key(512).public_key.fingerprint}) == 3
    assert PublicKey(PUBLIC.n, PUBLIC.h).fingerprint == PUBLIC.fingerprint


@settings(deadline=None)  # the first draw makes a table
@given(st.integers(-(2**300), 2**300))
def test_ours_by_phe_and_theirs_by_us(m: int) -> None:
    theirs = phe.PaillierPrivateKey(PUBLIC.to_phe(), int(KEY._p), int(KEY._q))
    data = Encryptor(PUBLIC, Tally()).encrypt([m]).to_bytes()
    assert theirs.raw_decrypt(int.from_bytes(data, "big")) == m % PUBLIC.n
    ciphertext = PUBLIC.to_phe().raw_encrypt(int(m % PUBLIC.n))
    assert KEY.decrypt([mpz(ciphertext)]) == [m % PUBLIC.n]
    assert KEY.decrypt([PUBLIC.raw(m)]) == [m % PUBLIC.n]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**200), min_size=1, max_size=5))
def test_rerandomising_keeps_plaintexts_and_changes_bytes(plaintexts: list[int]) -> None:
    tally = Tally()
    values = [PUBLIC.raw(m) for m in plaintexts]
    sent = [Rerandomiser(PUBLIC, tally).freshen(values).to_bytes() for _ in range(2)]
    assert sent[0] != sent[1]
    for data in sent:
        assert KEY.decrypt(PUBLIC.parse(data, len(values))) == plaintexts
    expected = Tally(nonce_counts(PUBLIC.bits, "full", 2 * len(values)))
    expected.add(MODMUL_N2, 2 * len(values))
    assert tally == expected


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_arrays_are_what_lists_are(count: int) -> None:
    data = Encryptor(PUBLIC, Tally()).encrypt(range(count)).to_bytes()
    tallies = Tally(), Tally()
    listed = PUBLIC.parse(data, count, tallies[0])
    array = PUBLIC.parse_array(data, count, tallies[1])
    assert array.to_ints() == listed
    assert tallies[0] == tallies[1]
    assert array.add_plain(range(count)).to_ints() == PUBLIC.add_plain(listed, range(count))
    fresh = [Rerandomiser(PUBLIC, Tally()).freshen(each).to_bytes() for each in (array, listed)]
    assert [KEY.decrypt(PUBLIC.parse(each, count)) for each in fresh] == [list(range(count))] * 2


class TestFreshCiphertexts:
    fresh = Encryptor(PUBLIC, Tally()).encrypt([1, 2, 3])

    def test_cannot_be_forged(self) -> None:
        with pytest.raises(TypeError):
            FreshCiphertexts(object(), PUBLIC.modulus().residues([1]))
        with pytest.raises(TypeError):
            FreshCiphertexts(None, PUBLIC.modulus().residues([1]))
        with pytest.raises(AttributeError):
            self.fresh._values = PUBLIC.modulus().residues([1])
        with pytest.raises(TypeError):
            list(self.fresh)

    def test_has_one_way_out(self) -> None:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(self.fresh)

    def test_is_neither_true_nor_false(self) -> None:
        with pytest.raises(TypeError):
            bool(self.fresh)

    def test_shows_nothing(self) -> None:
        assert repr(self.fresh) == "FreshCiphertexts(3 of 64 bytes)"

    def test_parts(self) -> None:
        parts = [self.fresh[:1], self.fresh[1:]]
        assert [len(part) for part in parts] == [1, 2]
        assert b"".join(part.to_bytes() for part in parts) == self.fresh.to_bytes()


def test_exponents_of_nonces_have_the_lengths_that_security_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def randbits(bits: int) -> int:
        asked.append(bits)
        return secrets.randbits(bits)

    monkeypatch.setattr(nonces, "secrets", SimpleNamespace(randbits=randbits))
    Encryptor(PUBLIC, Tally()).encrypt([1, 2])
    Rerandomiser(PUBLIC, Tally()).freshen([PUBLIC.raw(1)])
    assert asked == [256, 256, PUBLIC.bits + 64]
    asked.clear()
    Encryptor(PUBLIC, Tally(), more=40).encrypt([1])
    Rerandomiser(PUBLIC, Tally(), more=9).freshen([PUBLIC.raw(1)])
    assert asked == [256 + 40, PUBLIC.bits + 64 + 9]
    with pytest.raises(ValueError, match="never shorter"):
        Rerandomiser(PUBLIC, Tally(), more=-1)


def test_workers_draw_disjoint_nonces() -> None:
    tally, values = Tally(), [PUBLIC.raw(0)] * 40
    with Workers.processes(2) as workers:
        sent = Rerandomiser(PUBLIC, tally).freshen(values, workers).to_bytes()
    assert len(set(PUBLIC.parse(sent, 40))) == 40
    expected = Tally(nonce_counts(PUBLIC.bits, "full", 40))
    expected.add(MODMUL_N2, 40)
    assert tally == expected


def test_a_process_makes_each_table_once() -> None:
    public = generate(toy()).public_key
    made = nonces.table(public, "short")
    assert nonces.table(public, "short") is made
    for other in (("full",), ("short", 1), ("short", 0, 2)):
        assert nonces.table(public, *other) is not made  # type: ignore[arg-type]


def smooth_key() -> SecretKey:
    """A key with a prime factor 3, 5 or 7 in p - 1, where a bad nonce shows best."""
    while True:
        key = generate(toy())
        if any((key._p - 1) % prime == 0 for prime in (3, 5, 7)):
            return key


def characters(key: SecretKey, nonces: list[mpz]) -> dict[str, Counter[Any]]:
    """What the key holder sees of nonces: Jacobi symbols, and the class in each small quotient of Z*_p."""
    p, q = key._p, key._q
    found: dict[str, Counter[Any]] = {
        "jacobi": Counter((jacobi(rho % p, p), jacobi(rho % q, q)) for rho in nonces)
    }
    for prime in (3, 5, 7):
        if (p - 1) % prime == 0:
            found[f"class {prime}"] = Counter(int(powmod(rho % p, (p - 1) // prime, p)) for rho in nonces)
    return found


def sent_nonces(key: SecretKey, data: bytes, count: int) -> list[mpz]:
    """Nonces as the key holder gets them: c mod N, the plaintext being 0."""
    return [value % key.public_key.n for value in key.public_key.parse(data, count)]


def uniform(counts: Counter[Any], classes: int, total: int) -> bool:
    """Chi-square at about 10^-6 for at most 6 degrees of freedom."""
    expected = total / classes
    seen = [*counts.values(), *([0] * (classes - len(counts)))]
    return len(counts) <= classes and sum((n - expected) ** 2 / expected for n in seen) < 40


def test_nonces_towards_the_key_holder_are_uniform() -> None:
    """Whatever nonce a ciphertext had before, what is sent has one uniform on <h>.

    Where h itself is a cube modulo p, so is every nonce, and there is one class to see instead of three.
    """
    key, count = smooth_key(), 1200
    source = Rerandomiser(key.public_key, Tally())
    worst = [key.public_key.h] * count
    found = characters(key, sent_nonces(key, source.freshen(worst).to_bytes(), count))
    assert set(found["jacobi"]) == {(1, 1), (-1, -1)}
    assert uniform(found.pop("jacobi"), 2, count)
    for name, counts in found.items():
        prime = int(name.split()[1])
        trivial = powmod(key.public_key.h, (key._p - 1) // prime, key._p) == 1
        assert uniform(counts, 1 if trivial else prime, count), name


def test_bad_nonces_are_detected() -> None:
    """Positive controls: the same tests fail for no nonce, a short one, and r^N mixed with h^s."""
    key, count = smooth_key(), 1200
    public = key.public_key
    unchanged = characters(key, [public.h % public.n] * count)
    assert not uniform(unchanged["jacobi"], 2, count)
    tiny = [powmod(public.h, 2 * secrets.randbelow(8), public.n) for _ in range(count)]
    assert not uniform(characters(key, tiny)["jacobi"], 2, count)
    mixed: list[mpz] = []
    while len(mixed) < count:
        r = mpz(secrets.randbelow(int(public.n)))
        if gcd(r, public.n) == 1:
            mixed.append(powmod(r, public.n, public.n))
    assert set(characters(key, mixed)["jacobi"]) - {(1, 1), (-1, -1)}


def test_key_is_shown_by_its_fingerprint_only() -> None:
    assert str(PUBLIC.n) not in repr(PUBLIC)
    assert PUBLIC.fingerprint[:16] in repr(PUBLIC)
    assert pickle.loads(pickle.dumps(PUBLIC)) == PUBLIC  # noqa: S301 - public, to our own workers
