"""Network namespaces of Linux, with a device each: both last as long as a process holds them open.

They have no names elsewhere, so that nothing is left over, however those processes end.
`python -m together.bench.namespaces` says why they cannot be had here, if they cannot.
"""

from __future__ import annotations

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from twinveil.start.boundary import guarded

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
SIOCSIFADDR, SIOCSIFNETMASK = 0x8916, 0x891C
DEVICE = b"tun0"


def leave() -> None:
    """This thread gets a namespace of its own, as do the threads and processes that it starts from then on.

    Who is not root gets a user namespace first, which only a process with one thread can. Raises OSError.
    """
    try:
        _call("unshare", CLONE_NEWNET)
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")  # without it nobody may map a group
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def held() -> int:
    """A descriptor of this thread's namespace, which lasts as long as that is open."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def new() -> int:
    """A descriptor of a new namespace; this thread stays where it is."""
    made: list[int | OSError] = []

    def make() -> None:
        try:
            leave()
            made.append(held())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """This thread is in that namespace meanwhile, and the processes that it starts stay there."""
    own = held()
    try:
        _call("setns", namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", own, CLONE_NEWNET)
    finally:
        os.close(own)


def device(address: IPv4Interface) -> int:
    """A TUN device of this thread's namespace, with that address; loopback is there, too. Raises OSError."""
    made = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(made, TUNSETIFF, _request(DEVICE, struct.pack("H", IFF_TUN | IFF_NO_PI)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCSIFADDR, _request(DEVICE, _address(address.packed)))
            fcntl.ioctl(control, SIOCSIFNETMASK, _request(DEVICE, _address(address.netmask.packed)))
            for name in (DEVICE, b"lo"):
                seen = fcntl.ioctl(control, SIOCGIFFLAGS, _request(name))
                flags = int.from_bytes(seen[16:18], "little") | IFF_UP
                fcntl.ioctl(control, SIOCSIFFLAGS, _request(name, struct.pack("H", flags)))
    except BaseException:
        os.close(made)
        raise
    return made


def _request(name: bytes, value: bytes = b"") -> bytes:
    """struct ifreq."""
    return struct.pack("16s24s", name, value)


def _address(packed: bytes) -> bytes:
    """struct sockaddr_in."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, packed)


def _call(name: str, *arguments: int) -> None:
    """A function of the C library, which Python has from 3.12 on only."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"this system has no {name}")
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def main() -> None:
    """Raises OSError where namespaces cannot be had."""
    leave()
    with inside(new()):
        device(IPv4Interface("10.88.0.1/24"))


if __name__ == "__main__":
    sys.exit(guarded(main))
