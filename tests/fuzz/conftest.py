"""Fixtures of these tests."""

from tests.security.conftest import impatience, ledger

__all__ = ["impatience", "ledger"]
