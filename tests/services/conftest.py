"""Fixtures of these tests."""

from tests.rounds.conversations import rounds_server

__all__ = ["rounds_server"]
