"""Recordings of real processes: one structure for every picture and all weights, and no key in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.town import pictures, stored, town
from tests.views.small import PLAN, model
from twinveil.crypto.secret_key import SecretKey
from twinveil.views.audit import audit
from twinveil.views.collection import load, with_items

pytestmark = pytest.mark.slow

QUERIES = 3


def test_the_structure_through_real_processes(tmp_path: Path) -> None:
    record = tmp_path / "views"
    networks = [model(PLAN, seed=1), model(PLAN, fill=-128)]
    with town(tmp_path / "town", record=record) as running:
        for number, network in enumerate(networks):
            running.outsource(stored(network), f"network{number}")
            with running.client() as client:
                for picture in pictures(network, QUERIES):
                    client.classify([picture], f"network{number}")
        log = running.cluster.log("cloud_s2").read_text()
        key = SecretKey.load(running.cluster.state("cloud_s2") / "secret_key.json", insecure_small_key=True)
    assert "this cloud RECORDS all it sees" in log

    found = load(record)
    report = audit(found.views)
    assert report.clean, report.alarms
    views = {(kind.cloud, kind.what): kind.views for kind in report.kinds}
    for cloud in ("cloud_s1", "cloud_s2"):
        assert views[cloud, "import, packed"] == 2
        assert views[cloud, "query, packed"] == 2 * QUERIES
        for query in (view for view in found.views if view.subject.kind == "query" and view.role == cloud):
            assert len(with_items(query, found.views)) == 2
    secret = [f"{int(prime):x}" for prime in (key._p, key._q)]
    forms = [bytes.fromhex(each) for each in secret] + [bytes.fromhex(each)[::-1] for each in secret]
    for file in record.rglob("*.*"):
        data = file.read_bytes()
        assert not any(form in data for form in [*forms, *(each.encode() for each in secret)])

    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "twinveil.cli", "views", str(record), "--json", "--report", str(page)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["clean"] is True
    assert page.read_text().startswith("<!doctype html>")
