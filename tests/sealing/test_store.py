"""What the server keeps: encrypted, bound to its name, and there after kill -9."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from twinveil.errors import BadInput, HostFault
from twinveil.sealing.context import SecondFactor
from twinveil.sealing.reasons import Reason, Refusal
from twinveil.sealing.server.passwords import hashed, is_password
from twinveil.sealing.server.store import Account, Store

KEY = bytes(range(32))
ALICE = Account("alice", tuple(range(123_456, 123_556)), "00" * 32, "canary payment", b"hash")


def second(counter: int, nonce: int) -> SecondFactor:
    return SecondFactor("device", 1, 0, counter, nonce.to_bytes(16, "big"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "s.sqlite", KEY)
    made.register_device("device", bytes(32))
    return made


def test_accounts_come_back_as_they_were(store: Store) -> None:
    store.put_account(ALICE)
    assert store.account("alice") == ALICE
    assert store.account("bob") is None
    with pytest.raises(BadInput, match="enrolled already"):
        store.put_account(ALICE)
    store.put_account(ALICE, replace=True)


def test_features_and_payment_data_are_encrypted_on_disk(store: Store, tmp_path: Path) -> None:
    store.put_account(ALICE)
    store.settle("alice", bytes(16), {"payment": "canary payment"})
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert b"canary" not in content, path
        assert b"123456" not in content, path
        assert b"features" not in content, path


def test_a_record_is_bound_to_its_account_and_key(store: Store, tmp_path: Path) -> None:
    store.put_account(ALICE)
    store.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as sql:
        sql.execute("UPDATE accounts SET name = 'mallory'")
    with pytest.raises(BadInput, match="mallory in the store is damaged"):
        Store(tmp_path / "s.sqlite", KEY).account("mallory")
    with sqlite3.connect(tmp_path / "s.sqlite") as sql:
        sql.execute("UPDATE accounts SET name = 'alice'")
    assert Store(tmp_path / "s.sqlite", KEY).account("alice") == ALICE
    with pytest.raises(BadInput, match="another key"):
        Store(tmp_path / "s.sqlite", bytes(32)).account("alice")


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(BadInput, match=r"s\.sqlite cannot be used"):
        Store(tmp_path / "s.sqlite", KEY)


@pytest.mark.parametrize("found", [None, 32, "text", 1.5])
def test_a_record_that_is_no_bytes_is_damage(tmp_path: Path, found: object) -> None:
    """A damaged page can say so, whatever the table's declaration; 32 must not become 32 zeros."""
    with sqlite3.connect(tmp_path / "s.sqlite") as sql:
        for table, columns in {
            "devices": "name, public_key, counter",
            "accounts": "name, record",
            "receipts": "account, reference, record",
        }.items():
            sql.execute(f"CREATE TABLE {table} ({columns})")
        sql.execute("INSERT INTO devices VALUES ('till-7', ?, 0)", (found,))
        sql.execute("INSERT INTO accounts VALUES ('alice', ?)", (found,))
        sql.execute("INSERT INTO receipts VALUES ('alice', x'01', ?)", (found,))
    store = Store(tmp_path / "s.sqlite", KEY)
    for read in (
        lambda: store.device_key("till-7"),
        lambda: store.account("alice"),
        lambda: store.settle("alice", b"\x01", {}),
    ):
        with pytest.raises(BadInput, match="damaged"):
            read()


def test_nonces_and_counters_are_used_up_together(store: Store) -> None:
    store.use(second(5, 1))
    with pytest.raises(Refusal) as refused:
        store.use(second(6, 1))
    assert refused.value.reason is Reason.REPLAYED
    with pytest.raises(Refusal) as refused:
        store.use(second(5, 2))
    assert refused.value.reason is Reason.COUNTER
    store.use(second(6, 2))  # neither refusal used anything up


def test_a_device_that_is_not_registered_uses_nothing(store: Store) -> None:
    with pytest.raises(Refusal):
        store.use(SecondFactor("other", 1, 0, 1, bytes(16)))


def _use_and_die(path: Path, ready) -> None:
    Store(path, KEY).use(second(1 << 62, 77))
    ready.send(os.getpid())
    signal.pause()


def test_what_is_used_stays_used_after_kill_9(store: Store, tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_use_and_die, args=(tmp_path / "s.sqlite", there)
    )
    process.start()
    pid = here.recv()
    os.kill(pid, signal.SIGKILL)
    process.join()
    with pytest.raises(Refusal) as refused:
        store.use(second(1 << 62, 77))
    assert refused.value.reason is Reason.REPLAYED
    with pytest.raises(Refusal) as refused:
        store.use(second(1 << 62, 78))
    assert refused.value.reason is Reason.COUNTER


def _book(path: Path, count: int) -> int:
    store = Store(path, KEY)
    return sum(store.book_miss("alice", 1000, 500, 10) for _ in range(count))


def test_misses_are_counted_over_threads_and_processes(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        others = [pool.submit(_book, path, 8) for _ in range(2)]
        with ThreadPoolExecutor(4) as threads:
            ours = sum(threads.map(lambda _: _book(path, 2), range(4)))
        booked = ours + sum(each.result() for each in others)
    assert booked == 10
    assert not store.book_miss("alice", 1000, 500, 10)
    assert store.book_miss("alice", 2000, 1500, 10)  # those are long ago
    assert store.book_miss("bob", 1000, 500, 10)


def test_commits_reach_the_disk(store: Store) -> None:
    """A power cut is not to be had in a test; these settings are what stands against one."""
    assert store._sql.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._sql.execute("PRAGMA synchronous").fetchone() == (2,)


def test_passwords_are_hashed() -> None:
    kept = hashed("correct horse")
    assert b"correct" not in kept
    assert kept != hashed("correct horse")
    assert is_password(b"correct horse", kept)
    assert not is_password(b"correct horsf", kept)
    assert hashed("") == b""
    assert not is_password(b"", b"")
    with pytest.raises(BadInput):
        hashed("x" * 300)


def test_a_full_disk_is_said_and_passes(store: Store) -> None:
    """A limit on pages stands for it: SQLite raises the same."""
    pages = store._sql.execute("PRAGMA page_count").fetchone()[0]
    store._sql.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(ALICE, features=tuple(range(10**9, 10**9 + 10_000)))
    for _ in range(2):
        with pytest.raises(HostFault, match="store cannot be used: database or disk is full"):
            store.put_account(large)
    store._sql.execute(f"PRAGMA max_page_count = {pages + 1000}")
    store.put_account(large)
    assert store.account("alice") == large
