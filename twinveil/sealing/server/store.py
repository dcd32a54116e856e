"""What the server keeps, in SQLite: devices and their counters, nonces, accounts, misses, receipts.

WAL with synchronous=FULL: what a commit said yes to is there after kill -9 and after a power cut. Features,
payment data and password hashes are encrypted (AES-256-GCM) and bound to their account's name.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twinveil.errors import BadInput, HostFault
from twinveil.files import PRIVATE, private_folder
from twinveil.sealing.context import SecondFactor
from twinveil.sealing.reasons import Reason, Refusal
from twinveil.values import read_json

_NONCE_BYTES = 12
_DAMAGED = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises at a damaged file; its messages may hold bytes of the file."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS devices (
    name TEXT PRIMARY KEY, public_key BLOB NOT NULL, counter INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS nonces (nonce BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS misses (account TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS misses_of ON misses (account, at);
CREATE TABLE IF NOT EXISTS receipts (
    account TEXT NOT NULL, reference BLOB NOT NULL, record BLOB NOT NULL, PRIMARY KEY (account, reference)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Account:
    """features: the template; recogniser: digest of the network it comes from; payment: what a receipt shows.

    password: salt and scrypt hash, or empty.
    """

    name: str
    features: tuple[int, ...] = field(repr=False)
    recogniser: str
    payment: str = field(repr=False)
    password: bytes = field(repr=False)


class Store:
    """Safe for threads of one process; one process a file."""

    def __init__(self, path: Path, key: bytes) -> None:
        """key: 32 bytes. Raises BadInput if the file is no such store."""
        private_folder(path.parent)
        self._cipher = AESGCM(key)
        self._lock = threading.Lock()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))  # what SQLite adds gets its mode, too
            self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.executescript(_SCHEMA)
        except _DAMAGED as error:
            if hasattr(self, "_sql"):
                self._sql.close()  # or its locks would stay
            raise BadInput(f"{path} cannot be used as the sealing server's store: {error}") from None

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    # Devices

    def register_device(self, name: str, public_key: bytes) -> None:
        """Raises BadInput if another key is registered under that name."""
        with self._transaction() as sql:
            row = sql.execute("SELECT public_key FROM devices WHERE name = ?", (name,)).fetchone()
            if row is not None and row[0] != public_key:
                raise BadInput(f"a device {name} with another key is registered: name this one otherwise")
            if row is None:
                sql.execute("INSERT INTO devices VALUES (?, ?, -1)", (name, public_key))

    def device_key(self, name: str) -> bytes | None:
        with self._transaction() as sql:
            row = sql.execute("SELECT public_key FROM devices WHERE name = ?", (name,)).fetchone()
        return None if row is None else _blob(row)

    def use(self, second: SecondFactor) -> None:
        """Uses up a nonce and a counter, in one step and for good. Raises Refusal if either was used."""
        with self._transaction() as sql:
            seen = sql.execute("SELECT 1 FROM nonces WHERE nonce = ?", (second.random,)).fetchone()
            if seen is not None:
                raise Refusal(Reason.REPLAYED)
            moved = sql.execute(
                "UPDATE devices SET counter = ? WHERE name = ? AND counter < ?",
                (second.counter, second.device, second.counter),
            )
            if moved.rowcount != 1:
                raise Refusal(Reason.COUNTER)
            sql.execute("INSERT INTO nonces VALUES (?)", (second.random,))

    # Accounts

    def put_account(self, account: Account, *, replace: bool = False) -> None:
        """Raises BadInput if the account is there and not to be replaced."""
        record = {
            "features": account.features,
            "recogniser": account.recogniser,
            "payment": account.payment,
            "password": account.password.hex(),
        }
        data = self._encrypted("account", account.name, record)
        with self._transaction() as sql:
            there = sql.execute("SELECT 1 FROM accounts WHERE name = ?", (account.name,)).fetchone()
            if there is not None and not replace:
                raise BadInput(f"the account {account.name} is enrolled already: replace it or name another")
            sql.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (account.name, data))
            sql.execute("DELETE FROM misses WHERE account = ?", (account.name,))

    def account(self, name: str) -> Account | None:
        """Raises BadInput if its record is damaged."""
        with self._transaction() as sql:
            row = sql.execute("SELECT record FROM accounts WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        record = self._decrypted("account", name, _blob(row))
        return Account(
            name,
            tuple(record["features"]),
            record["recogniser"],
            record["payment"],
            bytes.fromhex(record["password"]),
        )

    def book_miss(self, account: str, at: int, since: int, most: int) -> bool:
        """Counts a guess as a miss before anybody looks at it; False, and nothing is booked, if there are
        `most` since then. Counted afterwards, guesses that come at once would all be the first.

        `settle` gives it back to whoever was right; a crash in between gives nothing back.
        """
        with self._transaction() as sql:
            booked = sql.execute(
                "INSERT INTO misses SELECT ?, ? WHERE"
                " (SELECT count(*) FROM misses WHERE account = ? AND at >= ?) < ?",
                (account, at, account, since, most),
            )
            return booked.rowcount == 1

    # Receipts

    def settle(self, account: str, reference: bytes, receipt: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keeps a receipt and forgets the account's misses; gives the one that is there if there is one."""
        data = self._encrypted("receipt", account, receipt)
        with self._transaction() as sql:
            row = sql.execute(
                "SELECT record FROM receipts WHERE account = ? AND reference = ?", (account, reference)
            ).fetchone()
            if row is None:
                sql.execute("INSERT INTO receipts VALUES (?, ?, ?)", (account, reference, data))
            sql.execute("DELETE FROM misses WHERE account = ?", (account,))
        return receipt if row is None else self._decrypted("receipt", account, _blob(row))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._sql.execute("BEGIN IMMEDIATE")
                try:
                    yield self._sql
                    self._sql.execute("COMMIT")
                except BaseException:
                    if self._sql.in_transaction:  # SQLite itself ends one that finds the disk full
                        self._sql.execute("ROLLBACK")
                    raise
            except _DAMAGED as error:
                kind = HostFault if _is_of_host(error) else BadInput
                raise kind(f"the sealing server's store cannot be used: {error}") from None

    def _encrypted(self, kind: str, name: str, record: Mapping[str, Any]) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(record).encode(), _bound(kind, name))

    def _decrypted(self, kind: str, name: str, data: bytes) -> dict[str, Any]:
        try:
            plain = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(kind, name))
        except (InvalidTag, ValueError):
            raise BadInput(f"the {kind} of {name} in the store is damaged or of another key") from None
        record: dict[str, Any] = read_json(plain)
        return record


def _is_of_host(error: Exception) -> bool:
    """Whether the disk is at fault, and not what lies on it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return (code & 0xFF) in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    )


def _blob(row: tuple[object, ...]) -> bytes:
    """A row's only column: SQLite checks types at writing, so a damaged file may hold anything there."""
    (value,) = row
    if not isinstance(value, bytes):
        raise BadInput("the sealing server's store is damaged: a record is no bytes")
    return value


def _bound(kind: str, name: str) -> bytes:
    return f"twinveil sealing {kind}\0{name}".encode()
