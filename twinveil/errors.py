"""Every error that Twinveil raises on purpose, in one catalogue.

A message is one line: what is wrong and what to do. It never contains a secret, a share, a pixel or a
weight. The command line prints it and exits with `exit_code`; a service turns it into a gRPC status with
the same line (twinveil.transport.status), and the other side raises the same type again.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from typing import ClassVar


class TwinveilError(Exception):
    """Base of all errors that are meant for a person's eyes."""

    exit_code: ClassVar[int] = 1
    status: ClassVar[str] = "INTERNAL"


class BadInput(TwinveilError):
    """A picture, file, option or message is not usable as it stands."""

    exit_code = 2
    status = "INVALID_ARGUMENT"


class BadConfiguration(BadInput):
    """A flag, environment variable or configuration file is wrong."""


class BadImage(BadInput):
    """A file is no picture, is damaged or cannot be brought to the model's shape."""


class BadPlan(BadInput):
    """A network cannot be run, or a plan contradicts itself or the shape at hand."""


class Overflow(BadPlan):
    """Interval bounds show that a layer can leave its declared accumulator width."""


class InvalidKey(BadInput):
    """A public or secret key is malformed, too small or not the pinned one."""


class InvalidCiphertext(BadInput):
    """A ciphertext is out of range, not coprime to N, or of the wrong count or size."""


class InvalidMessage(BadInput):
    """A message has the wrong size, count, layout or version."""


class OutOfOrder(TwinveilError):
    """A step came out of order, twice with other content, or after the end of its session."""

    status = "ABORTED"


class AlreadyUsed(OutOfOrder):
    """Single-use material (a mask, a label, a circuit, an OT index) was asked for again."""


class NotAllowed(TwinveilError):
    """The caller may not do this: wrong role, or the owner's policy forbids it."""

    exit_code = 3
    status = "PERMISSION_DENIED"


class EnvelopeRefused(NotAllowed):
    """A sealed picture is altered, foreign, or not what its header says; or a payment was refused."""


class UnknownModel(TwinveilError):
    """There is no model of that name and version at this cloud."""

    exit_code = 4
    status = "NOT_FOUND"


class ModelExists(TwinveilError):
    """A model of that name and version is already there."""

    exit_code = 4
    status = "ALREADY_EXISTS"


class PeerUnavailable(TwinveilError):
    """A peer cannot be reached, went away, or did not answer within its deadline."""

    exit_code = 5
    status = "UNAVAILABLE"


class BrokenOff(PeerUnavailable):
    """The other cloud ended what both work at, and tells the client why by itself."""


class LostWorkers(PeerUnavailable, BrokenExecutor):
    """The machines that compute for a cloud went away; their work may be done again."""


class PeerMismatch(TwinveilError):
    """A peer speaks another protocol version or holds another key than the pinned one."""

    exit_code = 5
    status = "FAILED_PRECONDITION"


class HostFault(TwinveilError):
    """A role's own machine fails it: a disk is full, read-only or broken, or open files are used up."""


class TooMuch(TwinveilError):
    """A limit on size, count or concurrency is reached."""

    exit_code = 6
    status = "RESOURCE_EXHAUSTED"


class TooLarge(TooMuch):
    """It would not fit if there were nothing else: nothing gives way to it, and waiting does not help."""
