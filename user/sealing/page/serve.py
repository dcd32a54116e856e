"""Serves the page: a session with the sealing server, and uvicorn on loopback until a signal."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import uvicorn

from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.start.boundary import log_to_stderr
from twinveil.start.settings import DeviceSettings
from twinveil.transport.address import Ready, is_loopback, split
from user.sealing.captures import Camera
from user.sealing.flow import Patience
from user.sealing.page.app import make_app
from user.sealing.page.payments import Payments
from user.sealing.session import open_session


def serve_page(settings: DeviceSettings, camera: Path | None, patience: Patience) -> None:
    """Until Ctrl-C or SIGTERM. Raises BadConfiguration for an address that others could reach."""
    host, port = split(settings.listen)
    if not is_loopback(host):
        raise BadConfiguration("the payment page is for this machine: listen on a loopback address")
    if camera is not None:
        Camera(camera)
    log_to_stderr(settings.log_level)
    with open_session(settings) as session, _listening(host, port) as listening:
        app = make_app(Payments(session, patience), session.device.name, camera)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        ready = Ready(settings.role, host, listening.getsockname()[1], os.getpid())
        if settings.ready_file is not None:
            ready.write(settings.ready_file)
        print(ready.line(), flush=True)
        print(f"http://{host}:{ready.port}/", file=sys.stderr, flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen()  # before anybody is told the port: who comes early waits for uvicorn
    except OSError as error:
        listening.close()
        raise PeerUnavailable(f"the page cannot listen on {host}:{port}: {error.strerror}") from None
    return listening
