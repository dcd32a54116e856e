"""Every module that reads files or foreign bytes is behind a fuzzing target, or says why not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzz.test_fuzz import NAMES

ROOT = Path(__file__).parents[2]
READS = re.compile(
    r"json\.loads\(|read_json\("
    r"|tomllib\.loads\(|load_pem_|load_der_|safetensors[.\w]* import .*load|safe_open\("
    r"|np\.load\(|Image\.open\(|sqlite3\.connect\(|gzip\.decompress\(|read_text\(|read_bytes\("
)
TARGETS = {
    "owner/catalogue.py": "catalogue-files",
    "owner/training/datasets.py": "data-sets",
    "owner/masks/results.py": "mask-studies",
    "owner/masks/study.py": "mask-studies",
    "owner/sealing/unseal.py": "sealed-files",
    "twinveil/network/card.py": "cards",
    "twinveil/start/config.py": "settings",
    "twinveil/crypto/secret_key.py": "secret-key-files",
    "twinveil/pictures/decoding.py": "pictures",
    "twinveil/network/folder.py": "model-files",
    "twinveil/transport/address.py": "ready-files",
    "twinveil/transport/certificates.py": "kits",
    "twinveil/transport/credentials.py": "kits",
    "twinveil/transport/identity.py": "certificates",
    "twinveil/values.py": "plans",
    "twinveil/services/keys.py": "served-keys",
    "twinveil/network/plan.py": "plans",
    "twinveil/preflight/here.py": "kits",
    "twinveil/rehearsal/arrays.py": "rehearsals",
    "twinveil/sealing/device.py": "device-state",
    "twinveil/sealing/keys.py": "sealing-state",
    "twinveil/sealing/network_files.py": "sealing-networks",
    "twinveil/sealing/pixels.py": "sealing.Sealing.Enrol",
    "twinveil/sealing/server/store.py": "sealing-state",
    "twinveil/cloud/store.py": "stores",
    "twinveil/views/collection.py": "views",
    "twinveil/views/view.py": "views",
    "user/client.py": "replies-to-user",
    "user/sealing/session.py": "pins",
}
OWN = {
    "owner/audit/rehearsal.py": "the messages of a process that it has started",
    "owner/masks/verbs.py": "a page that is printed as it is",
    "owner/training/verbs.py": "a card that it has just made",
    "together/bench/apart.py": "the output of a process that it has started",
    "together/bench/host.py": "the system's own description of its processor",
    "together/bench/picture.py": "the output of a process that it has started",
    "together/bench/session.py": "the output of a process that it has started",
    "together/demo.py": "the output of processes that it has started",
    "twinveil/container.py": "the kernel's own words",
    "twinveil/kits/making.py": "a configuration that settings_of has read before",
    "twinveil/start/local_cluster.py": "the log of a process that it has started",
    "twinveil/preflight/peers.py": "a certificate that TLS has read before",
    "twinveil/rehearsal/__main__.py": "pictures of the process that has started it",
}
"""What is read there comes from this very program."""


def test_every_parser_is_a_target() -> None:
    folders = (ROOT / name for name in ("twinveil", "owner", "cloud_s1", "cloud_s2", "user", "together"))
    reading = {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in folder.rglob("*.py")
        if READS.search(file.read_text()) and not file.name.endswith("_pb2.py")
    }
    assert reading == set(TARGETS) | set(OWN)
    assert set(TARGETS.values()) <= set(NAMES)


def test_json_from_outside_is_read_in_one_way() -> None:
    """json.loads takes NaN, 1e999 and integers of any length."""
    by_themselves = {name for name in TARGETS if "json.loads(" in (ROOT / name).read_text()}
    assert by_themselves == {"twinveil/values.py"}
