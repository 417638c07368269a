"""What the machine itself costs, measured beside everything: one fsync, one round trip on loopback."""

import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

SYNCS = 200
ROUND_TRIPS = 2000
_BLOCK = b"\0" * 8192
"""PostgreSQL writes its log in blocks of 8 KiB."""


def time_fsync(directory: Path) -> float:
    """Answer the median seconds of writing a block of a log file and syncing it, in `directory`'s file system."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, len(_BLOCK) * SYNCS)
        os.fsync(file.fileno())
        taken = []
        for number in range(SYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), _BLOCK, number * len(_BLOCK))
            os.fdatasync(file.fileno())  # what PostgreSQL calls on Linux unless told otherwise
            taken.append(time.perf_counter() - begun)
    return median(taken)


def time_round_trip() -> float:
    """Answer the median seconds of 64 bytes there and back over TCP on loopback, between two plain threads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        echo = threading.Thread(target=_echo, args=[server])
        echo.start()
        with socket.create_connection(server.getsockname()) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken = []
            for _ in range(ROUND_TRIPS):
                begun = time.perf_counter()
                connection.sendall(_BLOCK[:64])
                connection.recv(64)
                taken.append(time.perf_counter() - begun)
        echo.join()
    return median(taken)


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)
