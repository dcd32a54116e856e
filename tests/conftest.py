"""For all tests."""

from __future__ import annotations

import signal

# A shell's background jobs ignore SIGINT, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
