"""A small project on loopback and its kits."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from twinveil.kits.making import make_kits
from twinveil.kits.project import Project, read_project

PROJECT = """
name = "clinic"
insecure_small_key = true
[owner]
host = "127.0.0.1"
port = {0}
[cloud_s1]
host = "127.0.0.1"
port = {1}
names = ["s1.example.org", "10.0.0.7"]
[cloud_s2]
host = "127.0.0.1"
port = {2}
key_bits = 512
[users.alice]
port = {3}
[users.bob]
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
def project(tmp_path: Path) -> Project:
    file = tmp_path / "project.toml"
    file.write_text(PROJECT.format(*free_ports(4)))
    return read_project(file)


@pytest.fixture
def kits(project: Project, tmp_path: Path) -> Path:
    make_kits(project, tmp_path / "kits")
    return tmp_path / "kits"
