"""S2's own key: made at the first start, then kept."""

from __future__ import annotations

import logging
from pathlib import Path

from twinveil.crypto.keygen import generate
from twinveil.crypto.secret_key import SecretKey
from twinveil.files import private_folder
from twinveil.params import Params

log = logging.getLogger(__name__)


def own_key(path: Path, params: Params) -> SecretKey:
    """The key in `path`, or a new one that is then there (mode 0600).

    Raises InvalidKey if the file is damaged, readable by others, or of another length than `params` says.
    """
    if path.exists():
        return SecretKey.load(path, params)
    log.info("making a Paillier key of %d bits", params.key_bits)
    key = generate(params)
    private_folder(path.parent)
    key.save(path)
    log.info("the key's fingerprint is %s", key.public_key.fingerprint)
    return key
