"""Enrolment at the server: devices by their keys, accounts by the features of their pictures."""

from __future__ import annotations

import logging

from twinveil.errors import BadImage, BadInput, InvalidMessage
from twinveil.sealing.context import RANDOM_BYTES, SecondFactor
from twinveil.sealing.enrolment import open_enrolment
from twinveil.sealing.features import Recogniser, closeness, template
from twinveil.sealing.keys import ServerKeys, public_device_key
from twinveil.sealing.pixels import from_png
from twinveil.sealing.server.passwords import hashed
from twinveil.sealing.server.store import Account, Store

log = logging.getLogger(__name__)


class Registry:
    """Takes devices and accounts in."""

    def __init__(self, keys: ServerKeys, recogniser: Recogniser, store: Store) -> None:
        self._keys = keys
        self._recogniser = recogniser
        self._store = store

    def register_device(self, name: str, public_key: bytes) -> None:
        """Raises BadInput for a name that is taken or cannot be, InvalidKey for no key."""
        try:
            SecondFactor(name, 0, 0, 0, bytes(RANDOM_BYTES))
        except InvalidMessage as error:
            raise BadInput(str(error)) from None
        public_device_key(public_key)
        self._store.register_device(name, public_key)
        log.info("device %s is registered", name)

    def enrol(self, data: bytes, *, replace: bool = False) -> str:
        """Takes a sealed enrolment in; gives the account's name.

        Raises InvalidMessage, BadImage for pictures that cannot be used or show different faces, BadInput for
        an account that is there already.
        """
        enrolment = open_enrolment(data, self._keys)
        vectors = []
        for place, picture in enumerate(enrolment.pictures, 1):
            try:
                vectors.append(self._recogniser.features(from_png(picture)))
            except BadImage as error:
                raise BadImage(f"picture {place} of the enrolment: {error}") from None
        for place, vector in enumerate(vectors, 1):
            others = [other for other in vectors if other is not vector]
            if others and closeness(vector, template(others)) < self._recogniser.threshold:
                raise BadImage(
                    f"picture {place} of the enrolment shows no such face as the others: leave it out"
                )
        account = Account(
            enrolment.account,
            tuple(int(value) for value in template(vectors)),
            self._recogniser.network.digest.hex(),
            enrolment.payment,
            hashed(enrolment.password),
        )
        self._store.put_account(account, replace=replace)
        log.info("account %s is enrolled with %d pictures", account.name, len(vectors))
        return account.name
