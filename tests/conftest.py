"""For all tests."""

from __future__ import annotations

import signal

from twinveil import TLS_1_3_ONLY

# A shell's background jobs ignore SIGINT, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

assert TLS_1_3_ONLY, "grpc was imported before this file: no test would see the TLS that is really spoken"
