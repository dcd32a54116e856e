"""S2's own key: made at the first start, then kept."""

from __future__ import annotations

import logging
from pathlib import Path

from twinveil.crypto.keygen import generate
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import InvalidKey
from twinveil.files import private_folder
from twinveil.params import KEY_BITS, Params

log = logging.getLogger(__name__)


def own_key(path: Path, key_bits: int | None, *, insecure_small_key: bool = False) -> SecretKey:
    """The key in `path`, or a new one that is then there (mode 0600).

    key_bits: what the operator asks for; None: whatever is there, and of a new key the default.
    Raises InvalidKey if the file is damaged, readable by others, or of another length than was asked for.
    """
    params = Params(KEY_BITS if key_bits is None else key_bits, insecure_small_key=insecure_small_key)
    if path.exists():
        key = SecretKey.load(path, insecure_small_key=insecure_small_key)
        if key_bits not in (None, key.public_key.bits):
            raise InvalidKey(
                f"{path} holds a key of {key.public_key.bits} bits, key_bits asks for {key_bits}: leave "
                "key_bits out to go on with it, or give another state folder for a new key and new models"
            )
        return key
    log.info("making a Paillier key of %d bits", params.key_bits)
    key = generate(params)
    private_folder(path.parent)
    key.save(path)
    log.info("the key's fingerprint is %s", key.public_key.fingerprint)
    return key
