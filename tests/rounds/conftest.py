"""Fixtures of these tests."""

from tests.rounds.conversations import make_peer, rounds_server

__all__ = ["make_peer", "rounds_server"]
