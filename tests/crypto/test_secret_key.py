"""The secret key decrypts, checks itself, stays at home."""

from __future__ import annotations

import copy
import json
import os
import pickle
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import gmpy2
import phe
import pytest
from gmpy2 import mpz

import twinveil.crypto.secret_key as module
from tests.crypto.crypto_keys import secret_key, toy
from twinveil.crypto.keygen import generate
from twinveil.crypto.native.residues import Residues, powers
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.errors import InvalidKey, TwinveilError
from twinveil.native import VARIABLE
from twinveil.parallel import Workers
from twinveil.params import Params

KEY = secret_key()


def own_key(**options: Any) -> SecretKey:
    """The same numbers with counters of its own."""
    return SecretKey(KEY._p, KEY._q, KEY.public_key, **options)


def ciphertexts(key: SecretKey, plaintexts: list[int]) -> list[mpz]:
    return key.public_key.parse(key.encrypt(plaintexts).to_bytes(), len(plaintexts))


@pytest.mark.parametrize("bits", [256, 512, 2048])
def test_decrypts_what_it_encrypts(bits: int) -> None:
    shared = secret_key(bits)
    key = SecretKey(shared._p, shared._q, shared.public_key)
    n = int(key.public_key.n)
    plaintexts = [0, 1, n - 1, *(secrets.randbelow(n) for _ in range(5))]
    assert key.decrypt(ciphertexts(key, plaintexts)) == plaintexts
    assert key.operations == len(plaintexts)
    theirs = phe.PaillierPrivateKey(key.public_key.to_phe(), int(key._p), int(key._q))
    assert [theirs.raw_decrypt(int(c)) for c in ciphertexts(key, plaintexts)] == plaintexts
    assert key.decrypt([mpz(key.public_key.to_phe().raw_encrypt(m)) for m in plaintexts]) == plaintexts


@pytest.mark.parametrize("threads", [1, 2])
def test_secret_exponents_go_through_the_constant_time_power_only(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Both exponents, in this process, for ciphertexts and for the check."""
    key, values, seen = own_key(), ciphertexts(KEY, [1, 2, 3]), []
    real = powers

    def watched(works: Any, bits: int) -> Any:
        seen.append([(len(numbers), set(exponents)) for numbers, exponents in works])
        assert all(numbers.modulus.many.threads == threads or len(numbers) == 1 for numbers, _ in works)
        return real(works, bits)

    powmod = gmpy2.powmod

    def public(base: mpz, exponent: int, modulus: mpz) -> mpz:
        assert exponent.bit_length() < 64, "this power's time tells its exponent"
        return powmod(base, exponent, modulus)

    monkeypatch.setattr(module, "powers", watched)
    monkeypatch.setattr(gmpy2, "powmod", public)
    with Workers.processes(threads) as workers:
        assert key.decrypt(values, workers) == [1, 2, 3]
    assert seen == [[(count, {p - 1}) for p in (KEY._p, KEY._q)] for count in (3, 1)]


def test_both_levels_decrypt_the_same(tmp_path: Path) -> None:
    """In another process, by gmpy2 alone."""
    KEY.save(tmp_path / "secret_key.json")
    plaintexts = [secrets.randbelow(int(KEY.public_key.n)) for _ in range(9)]
    code = (
        "import sys; from pathlib import Path\n"
        "from twinveil.crypto.native.level import level; from twinveil.crypto.secret_key import SecretKey\n"
        "key = SecretKey.load(Path(sys.argv[1]), insecure_small_key=True)\n"
        "print(level(), *key.decrypt(key.public_key.parse(bytes.fromhex(sys.argv[2]), 9)))"
    )
    sent = KEY.encrypt(plaintexts).to_bytes().hex()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "secret_key.json"), sent],
        env=os.environ | {VARIABLE: "off", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["gmpy2", *map(str, plaintexts)]


def test_plaintexts_are_taken_modulo_n() -> None:
    assert KEY.decrypt(ciphertexts(KEY, [-5, int(KEY.public_key.n) + 7])) == [KEY.public_key.n - 5, 7]


def test_nothing_is_decrypted_to_nothing() -> None:
    key = own_key()
    assert key.decrypt([]) == []
    assert key.operations == key.tally.total == 0


def test_operations_are_counted_exactly() -> None:
    key = own_key()
    values = ciphertexts(KEY, list(range(20)))
    key.decrypt(values)
    assert key.tally == Tally(SecretKey.decrypt_counts(20))
    assert SecretKey.decrypt_counts(0) == {}
    key = own_key()
    key.encrypt([1, 2, 3])
    assert key.tally[MODMUL_N2] == 6


def test_threads_give_the_same() -> None:
    plaintexts = list(range(37))
    with Workers.processes(2) as workers:
        key = own_key()
        assert key.decrypt(ciphertexts(key, plaintexts), workers) == plaintexts
        assert (
            KEY.decrypt(KEY.public_key.parse(key.encrypt(plaintexts, workers).to_bytes(), 37)) == plaintexts
        )


def flipped(numbers: Residues, victim: int, bit: int) -> Residues:
    """With one bit of one number wrong."""
    wrong = numbers.to_ints()
    wrong[victim] = wrong[victim].bit_flip(bit) % numbers.modulus.n_squared
    return numbers.modulus.residues(wrong)


class TestFaults:
    """Wherever one number goes wrong so that a plaintext does, nothing is returned."""

    values = ciphertexts(KEY, [secrets.randbelow(int(KEY.public_key.n)) for _ in range(4)])

    def refused(self, key: SecretKey) -> None:
        with pytest.raises(TwinveilError, match="did not pass its check"):
            key.decrypt(self.values)

    @pytest.mark.parametrize("half", [0, 1])
    @pytest.mark.parametrize("victim", [0, 3])
    def test_in_a_power(self, half: int, victim: int, monkeypatch: pytest.MonkeyPatch) -> None:
        key, calls = own_key(), iter(range(9))
        real = powers

        def faulty(works: Any, bits: int) -> list[Residues]:
            results = real(works, bits)
            if not next(calls):
                results[half] = flipped(results[half], victim, 200)
            return results

        monkeypatch.setattr(module, "powers", faulty)
        self.refused(key)

    @pytest.mark.parametrize("half", [0, 1])
    def test_in_a_base(self, half: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The power is right, of the wrong number: y = 1 mod p holds, so only an end-to-end check sees it."""
        key, calls = own_key(), iter(range(9))
        real = powers

        def faulty(works: Any, bits: int) -> list[Residues]:
            if not next(calls):
                works[half] = flipped(works[half][0], 0, 3), works[half][1]
            return real(works, bits)

        monkeypatch.setattr(module, "powers", faulty)
        self.refused(key)

    @pytest.mark.parametrize("half", [0, 1])
    def test_in_an_exponent(self, half: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is 0 gives the plaintexts 0, of which sums are right: the check has a power of its own."""
        key, calls = own_key(), iter(range(9))
        real = powers

        def faulty(works: Any, bits: int) -> list[Residues]:
            if not next(calls):
                works[half] = works[half][0], [0] * len(works[half][1])
            return real(works, bits)

        monkeypatch.setattr(module, "powers", faulty)
        self.refused(key)

    def test_in_a_reduction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key, calls = own_key(), iter(range(9))
        real = SecretKey._reduced

        def faulty(self: SecretKey, *arguments: Any) -> list[Residues]:
            p_side, q_side = real(self, *arguments)
            return [p_side if next(calls) else flipped(p_side, 1, 17), q_side]

        monkeypatch.setattr(SecretKey, "_reduced", faulty)
        self.refused(key)

    def test_in_a_constant(self) -> None:
        key = own_key()
        (p, factor), other = key._halves
        key._halves = ((p, factor + 1), other)
        self.refused(key)
        key = own_key()
        key._p_inverse += 1
        self.refused(key)

    def test_in_the_check_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        key = own_key()
        monkeypatch.setattr(module, "multi_exponentiate", lambda bases, *_: bases[:1])
        self.refused(key)


class TestSecrecy:
    def test_shows_nothing(self) -> None:
        for text in (repr(KEY), str(KEY), f"{KEY}"):
            assert str(KEY._p)[:12] not in text
            assert "redacted" in text

    @pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_is_not_copied(self, attempt: Any) -> None:
        with pytest.raises(TypeError):
            attempt(KEY)


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        KEY.save(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
        loaded = SecretKey.load(path, insecure_small_key=True)
        assert loaded.public_key == KEY.public_key
        assert loaded.decrypt(ciphertexts(KEY, [11])) == [11]

    def test_phe_reads_it(self, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        KEY.save(path)
        jwk = json.loads(path.read_text())
        public = phe.command_line.load_public_key(jwk["pub"])
        numbers = [phe.util.base64_to_int(jwk[name]) for name in "pq"]
        assert phe.PaillierPrivateKey(public, *numbers).raw_decrypt(int(ciphertexts(KEY, [12])[0])) == 12

    def test_is_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        path.write_text("mine")
        with pytest.raises(InvalidKey, match="never overwritten"):
            KEY.save(path)
        assert path.read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_what_a_killed_process_left_is_not_in_the_way(self, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        (tmp_path / f".{path.name}.{os.getpid()}").touch()  # in a container every start has the same number
        KEY.save(path)
        assert SecretKey.load(path, insecure_small_key=True).public_key == KEY.public_key

    def test_is_whole_or_absent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            KEY.save(tmp_path / "secret_key.json")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
    def test_open_to_others_is_refused(self, mode: int, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        KEY.save(path)
        path.chmod(mode)
        with pytest.raises(InvalidKey, match="open to others"):
            SecretKey.load(path, insecure_small_key=True)

    def test_is_not_left_where_no_permissions_are_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = os.open

        def open_to_all(path: Path, flags: int, mode: int = 0o777) -> int:
            handle = opened(path, flags, mode)
            if flags & os.O_CREAT:
                os.fchmod(handle, 0o755)  # as vfat makes every file
            return handle

        monkeypatch.setattr(os, "open", open_to_all)
        with pytest.raises(InvalidKey, match="keeps no permissions: others could read the secret key"):
            KEY.save(tmp_path / "secret_key.json")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kty": "DAJ"}', "[" * 50000, "9" * 70000])
    def test_damaged_files_are_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "secret_key.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(InvalidKey):
            SecretKey.load(path, insecure_small_key=True)


def broken() -> dict[str, tuple[int, int, PublicKey]]:
    p, q, public = KEY._p, KEY._q, KEY.public_key
    other = generate(toy())
    x = mpz(5)
    square = gmpy2.powmod(x * x, public.n, public.n_squared)
    not_residue = public.h * (1 + public.n) % public.n_squared
    return {
        "other primes": (other._p, other._q, public),
        "one and N": (mpz(1), public.n, public),
        "h is a square": (p, q, PublicKey(public.n, square)),
        "h is no N-th residue": (p, q, PublicKey(public.n, not_residue)),
        "equal primes": (p, p, PublicKey(p * p, public.h)),
    }


@pytest.mark.parametrize("name", broken())
def test_keys_that_contradict_themselves_are_refused(name: str) -> None:
    p, q, public = broken()[name]
    with pytest.raises(InvalidKey):
        SecretKey(p, q, public)


def primes(bits: int, residue: int) -> mpz:
    while True:
        candidate = mpz(secrets.randbits(bits)) | mpz(3) << (bits - 2) | 3
        candidate += residue - candidate % 4
        if gmpy2.is_prime(candidate):
            return candidate


@pytest.mark.parametrize(
    ("residues", "text"), [((1, 1), "3 modulo 4"), ((3, 1), "3 modulo 4")], ids=["1 and 1", "3 and 1"]
)
def test_primes_of_another_kind_are_refused(residues: tuple[int, int], text: str) -> None:
    p, q = (primes(128, residue) for residue in residues)
    with pytest.raises(InvalidKey, match=text):
        SecretKey(p, q, PublicKey(p * q, mpz(2)))


def test_composite_factors_are_refused() -> None:
    while True:
        p, q = primes(64, 1) * primes(64, 3), primes(128, 3)
        if p.bit_length() == 128 and (p * q).bit_length() == 256:
            break
    with pytest.raises(InvalidKey, match="both prime"):
        SecretKey(p, q, PublicKey(p * q, mpz(2)))


def test_unequal_lengths_are_refused() -> None:
    p, q = primes(120, 3), primes(136, 3)
    with pytest.raises(InvalidKey, match="half the length"):
        SecretKey(p, q, PublicKey(p * q, mpz(2)))


@pytest.mark.parametrize("bits", [256, 272, 512, 2048])
def test_made_keys_are_as_they_should_be(bits: int) -> None:
    key = generate(Params(bits, insecure_small_key=True))
    p, q = key._p, key._q
    assert key.public_key.bits == bits
    assert p.bit_length() == q.bit_length() == bits // 2
    assert p % 4 == q % 4 == 3
    assert gmpy2.gcd(p - 1, q - 1) == 2
    assert gmpy2.gcd(p * q, (p - 1) * (q - 1)) == 1
    assert abs(p - q).bit_length() > bits // 2 - 100
    assert gmpy2.is_prime(p)
    assert gmpy2.is_prime(q)


def test_small_keys_need_the_word_insecure() -> None:
    with pytest.raises(InvalidKey, match="at least 2048"):
        generate(Params(1024))
