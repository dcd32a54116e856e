"""For all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from twinveil import TLS_1_3_ONLY

# The asserts of what tests share then say what they compared, and stay under python -O, like the tests' own.
pytest.register_assert_rewrite(*(f"tests.{each.stem}" for each in Path(__file__).parent.glob("[a-z]*")))

# A shell's background jobs ignore SIGINT, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

assert TLS_1_3_ONLY, "grpc was imported before this file: no test would see the TLS that is really spoken"
