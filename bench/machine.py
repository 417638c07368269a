"""What the machine itself costs, measured beside everything: one fsync, one round trip on loopback."""

import os
import socket
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.cores import LOAD_CORE, on_core
from bench.peers.echo import MESSAGE_BYTES

SYNCS = 200
ROUND_TRIPS = 2000
_BLOCK = b"\0" * 8192
"""PostgreSQL writes its log in blocks of 8 KiB."""


def time_fsync(directory: Path) -> float:
    """Return the median seconds of writing a block of a log file and syncing it, in `directory`'s file system."""
    with tempfile.NamedTemporaryFile(dir=directory) as file, on_core(LOAD_CORE):
        # As PostgreSQL makes a segment of its log: written once before it is used.
        os.pwrite(file.fileno(), _BLOCK * SYNCS, 0)
        os.fsync(file.fileno())
        taken = []
        for number in range(SYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), _BLOCK, number * len(_BLOCK))
            os.fdatasync(file.fileno())  # what PostgreSQL calls on Linux unless told otherwise
            taken.append(time.perf_counter() - begun)
    return median(taken)


def time_round_trip(port: int) -> float:
    """Return the median seconds of 64 bytes over TCP to `bench.peers.echo` on the services' core, and back."""
    with on_core(LOAD_CORE), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            connection.sendall(_BLOCK[:MESSAGE_BYTES])
            connection.recv(MESSAGE_BYTES)
            taken.append(time.perf_counter() - begun)
    return median(taken)
