"""What this is, and which protocol it speaks."""

VERSION = "0.1.0"

PROTOCOL_VERSION = 2
"""Raised whenever a message or their order changes: roles with different numbers refuse each other."""
