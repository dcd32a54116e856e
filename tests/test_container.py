"""Limits of containers: made-up trees of control groups, and this machine's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from together.bench.host import host
from twinveil import container
from twinveil.cloud.budget import half_of_memory
from twinveil.container import memory_free, memory_limit, processors
from twinveil.parallel import Workers
from twinveil.preflight.here import memory

MIB = 1 << 20
MACHINE, AVAILABLE = 24 << 30, 20 << 30
NONE_V1 = "9223372036854771712\n"

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_MEMORY = "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw master:7 - cgroup cgroup rw,cpu,cpuacct"
OTHERS = "23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n26 23 0:24 / /proc rw - proc proc rw"

Files = Mapping[str, str]


def tree(root: Path, own: str, mounts: str, files: Files) -> Path:
    """A machine as far as control groups go. files: below /sys/fs/cgroup."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(own)
    (root / "proc" / "self" / "mountinfo").write_text(f"{OTHERS}\n{mounts}\n")
    for name, text in files.items():
        file = root / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real" not in request.fixturenames:
        found = SimpleNamespace(total=MACHINE, available=AVAILABLE)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: found)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def limit(mib: int) -> str:
    return f"{mib * MIB}\n"


MEMORY = {
    "version 2, in a namespace of its own": ("0::/\n", V2, {"memory.max": limit(512)}, 512),
    "version 2, above": (
        "0::/a/b/c\n",
        V2,
        {"a/memory.max": limit(600), "a/b/memory.max": limit(512), "a/b/c/memory.max": "max\n"},
        512,
    ),
    "version 2, the top of what is mounted": ("0::/a\n", V2, {"memory.max": limit(512)}, 512),
    "version 2, slowed down before": (
        "0::/a\n",
        V2,
        {"a/memory.max": limit(600), "a/memory.high": limit(512)},
        512,
    ),
    "version 2, no limit": ("0::/a\n", V2, {"a/memory.max": "max\n", "a/memory.high": "max\n"}, None),
    "version 2, more than the machine": ("0::/\n", V2, {"memory.max": limit(1 << 20)}, None),
    "version 2, moved out of its namespace": ("0::/../other\n", V2, {"memory.max": limit(512)}, 512),
    "version 2, of a root above its namespace": (
        "0::/\n",
        V2.replace(" / /sys", " /../.. /sys"),
        {"memory.max": limit(512)},
        512,
    ),
    "version 1, the container's own group mounted": (
        "4:memory:/docker/abc\n",
        V1_MEMORY.format(top="/docker/abc"),
        {"memory/memory.limit_in_bytes": limit(512)},
        512,
    ),
    "version 1, above": (
        "4:memory:/docker/abc\n",
        V1_MEMORY.format(top="/"),
        {
            "memory/memory.limit_in_bytes": NONE_V1,
            "memory/docker/memory.limit_in_bytes": limit(512),
            "memory/docker/abc/memory.limit_in_bytes": NONE_V1,
        },
        512,
    ),
    "version 1, no limit": (
        "4:memory:/\n",
        V1_MEMORY.format(top="/"),
        {"memory/memory.limit_in_bytes": NONE_V1},
        None,
    ),
    "both": (
        "4:memory:/a\n0::/b\n",
        V1_MEMORY.format(top="/") + "\n" + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
        {"memory/a/memory.limit_in_bytes": limit(512), "unified/b/cgroup.procs": "1\n"},
        512,
    ),
    "another's": ("0::/a\n", V2, {"b/memory.max": limit(512)}, None),
    "no number": ("0::/\n", V2, {"memory.max": "much\n"}, None),
    "other lines": ("4:memory\n\n0::/\n", f"- - -\n{V2}\n31", {"memory.max": limit(512)}, 512),
    "nothing mounted": ("0::/\n", "", {"memory.max": limit(512)}, None),
}


@pytest.mark.parametrize(("own", "mounts", "files", "mib"), MEMORY.values(), ids=MEMORY)
def test_memory(tmp_path: Path, own: str, mounts: str, files: Files, mib: int | None) -> None:
    root = tree(tmp_path, own, mounts, files)
    assert memory_limit(root) == (MACHINE if mib is None else mib * MIB)
    assert memory_free(root) == (AVAILABLE if mib is None else mib * MIB)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    assert memory_free(tmp_path) == AVAILABLE
    assert processors(tmp_path) == 8


@pytest.mark.parametrize(
    ("own", "mounts", "files"),
    [
        (
            "0::/a\n",
            V2,
            {
                "a/memory.max": limit(512),
                "a/memory.current": limit(300),
                "a/memory.stat": f"anon 7\ninactive_file {100 * MIB}\n",
            },
        ),
        (
            "4:memory:/a\n",
            V1_MEMORY.format(top="/"),
            {
                "memory/a/memory.limit_in_bytes": limit(512),
                "memory/a/memory.usage_in_bytes": limit(300),
                "memory/a/memory.stat": f"inactive_file 7\ntotal_inactive_file {100 * MIB}\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_what_is_used_is_not_free_but_what_is_cached_is(
    tmp_path: Path, own: str, mounts: str, files: Files
) -> None:
    assert memory_free(tree(tmp_path, own, mounts, files)) == 312 * MIB


def test_a_group_beyond_its_limit_has_nothing_free(tmp_path: Path) -> None:
    files = {"memory.max": limit(512), "memory.current": limit(600)}
    assert memory_free(tree(tmp_path, "0::/\n", V2, files)) == 0


CPU = {
    "version 2": ("0::/\n", V2, {"cpu.max": "200000 100000\n"}, 2),
    "version 2, above": ("0::/a/b\n", V2, {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
    "version 2, a part": ("0::/\n", V2, {"cpu.max": "150000 100000\n"}, 2),
    "version 2, less than one": ("0::/\n", V2, {"cpu.max": "10000 100000\n"}, 1),
    "version 2, no limit": ("0::/\n", V2, {"cpu.max": "max 100000\n"}, 8),
    "version 2, more than there are": ("0::/\n", V2, {"cpu.max": "6400000 100000\n"}, 8),
    "version 1": (
        "2:cpu,cpuacct:/docker/abc\n",
        V1_CPU.format(top="/docker/abc"),
        {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    "version 1, no limit": (
        "2:cpu,cpuacct:/\n",
        V1_CPU.format(top="/"),
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        8,
    ),
    "no numbers": ("0::/\n", V2, {"cpu.max": "\n"}, 8),
    "no period": ("0::/\n", V2, {"cpu.max": "100000 0\n"}, 8),
}


@pytest.mark.parametrize(("own", "mounts", "files", "count"), CPU.values(), ids=CPU)
def test_processors(tmp_path: Path, own: str, mounts: str, files: Files, count: int) -> None:
    assert processors(tree(tmp_path, own, mounts, files)) == count


def test_everything_that_asks_for_the_size_of_the_machine_gets_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, "0::/\n", V2, {"memory.max": limit(512), "cpu.max": "200000 100000\n"})
    for asked in (memory_limit, memory_free, processors):
        monkeypatch.setattr(asked, "__defaults__", (root,))
    assert half_of_memory() == 256 * MIB
    assert host()["cores"] == 2
    with Workers.processes() as workers:
        assert workers.count == 2
    assert memory("cloud_s1").seen == "512 MiB"


@pytest.fixture
def real() -> Iterator[Path]:
    """A control group of this machine for memory, if this user may make one."""
    own = list(container._groups("memory", container.ROOT))
    for parent in own:
        group = parent / f"twinveil-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            yield group
            group.rmdir()
            return
    pytest.skip("this user may make no control group")


INSIDE = """
import sys
from twinveil.container import memory_free, memory_limit
sys.stdin.readline()
print(memory_limit(), memory_free())
"""


def test_this_machine(real: Path) -> None:
    file = next(
        (real / name for name in ("memory.max", "memory.limit_in_bytes") if (real / name).exists()), None
    )
    if file is None:
        pytest.skip("the group that this user may make has no limits")
    file.write_text(str(512 * MIB))
    with subprocess.Popen(
        [sys.executable, "-c", INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        (real / "cgroup.procs").write_text(str(process.pid))
        said, _ = process.communicate("go\n", timeout=60)
    most, free = map(int, said.split())
    assert most == 512 * MIB
    assert 0 < free < most
