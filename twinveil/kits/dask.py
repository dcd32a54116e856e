"""Certificates for a cloud's own Dask scheduler and workers (twinveil.cloud.dask_workers)."""

from __future__ import annotations

import os
from pathlib import Path

from twinveil.errors import BadConfiguration
from twinveil.files import creating_folder
from twinveil.transport.certificates import issue, make_authority


def make_certificates(folder: Path) -> None:
    """authority.pem, certificate.pem and key.pem (0600) for every machine on which Dask runs.

    Dask lets in whoever the authority vouches for. So this one is made for these machines alone, and its key
    is never written: nobody, the roles' own authority included, can issue another certificate for it.

    Raises BadConfiguration if the folder is there already.
    """
    folder = Path(os.path.realpath(folder))  # nothing can take the place of a link that leads nowhere yet
    if folder.exists():
        raise BadConfiguration(f"{folder} is there already: nothing is overwritten")
    with creating_folder(folder) as part:
        issue(make_authority("Twinveil Dask"), "cloud_s1", "dask", part)
