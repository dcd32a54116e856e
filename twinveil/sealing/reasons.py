"""Why an envelope passed or not: the server's log and metrics have the reason, a device the outcome."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """All that a device learns."""

    PASSED = "passed"
    TRY_ANOTHER_PICTURE = "try another picture"
    REFUSED = "refused"


class Reason(StrEnum):
    PASSED = "passed"
    MALFORMED = "malformed"
    """The bytes are no envelope."""
    VERSION = "version"
    """The sign_version is unknown or no longer accepted."""
    FOREIGN_DEVICE = "foreign device"
    """The device is not registered here."""
    SIGNATURE = "signature"
    """The device did not sign these bytes: altered, truncated, spliced, or signed by somebody else."""
    FOREIGN_KEY = "foreign key"
    """Sealed to another server's keys."""
    FOREIGN_MODEL = "foreign model"
    """The first factor comes from another network."""
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    REPLAYED = "replayed"
    """The random part was seen before."""
    COUNTER = "counter"
    """The counter is not above the device's last."""
    ALTERED = "altered"
    """The ciphertext does not open under its header."""
    CONTENT = "content"
    """What was opened is not what a device seals."""
    COMMITMENT = "commitment"
    """The first factor inside is not the one that the header commits to."""
    FACTOR = "factor"
    """The first factor inside is not that of the picture in this context."""
    ORDER = "order"
    """The payment's reference belongs to another order."""
    LOCKED = "locked"
    """Too many misses of this account in a row."""
    PICTURE = "picture"
    """The picture cannot be used: no PNG as it is sealed, or hardly any contrast."""
    ACCOUNT = "account"
    """There is no such account, or it was enrolled with another recogniser."""
    FACE = "face"
    """The features are not close enough to the account's."""
    PASSWORD = "password"  # noqa: S105
    """The password is another one, or the account has none."""

    @property
    def outcome(self) -> Outcome:
        """An unknown account looks like a wrong face, so that devices cannot list accounts."""
        if self is Reason.PASSED:
            return Outcome.PASSED
        another = (Reason.PICTURE, Reason.ACCOUNT, Reason.FACE)
        return Outcome.TRY_ANOTHER_PICTURE if self in another else Outcome.REFUSED


class Refusal(Exception):
    """Ends a verification; never leaves the server."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
