"""The unix socket of the api process: the supervisor opens and keeps it, as it does the workers' sockets.

It lies in the data directory's folder `run`, which only its owner may enter, or somewhere shorter. Whoever
connects while no api process runs waits in its queue for the next one.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from gateway.serve import socketpath
from gateway.serve.listeners import BACKLOG, AddressBusy

FOLDER = "run"
NAME = "api.sock"


@dataclass(frozen=True, slots=True)
class ApiSocket:
    """The listening socket, and where it is reached."""

    listener: socket.socket
    path: Path
    folder: Path

    def close(self) -> None:
        """Close it and remove its name."""
        self.listener.close()
        socketpath.remove(self.path, self.folder)


def open_api_socket(data_dir: Path) -> ApiSocket:
    """Listen below the data directory, whose lock the caller holds. Raises AddressBusy."""
    folder = data_dir / FOLDER
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = socketpath.place(folder, folder, NAME)
        path.unlink(missing_ok=True)  # a killed supervisor's; the lock says that it is gone
        former = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(former)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise AddressBusy(f"cannot listen for the api process below {folder}: {error}") from None
    return ApiSocket(listener, path, folder)
