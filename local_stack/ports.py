"""TCP ports on the loopback address."""

import random
import socket
import urllib.request
from collections import deque

from local_stack.errors import StackError

LOOPBACK = "127.0.0.1"
LOOPBACK_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the stack's own addresses, whatever proxy the shell names; nothing of it, keys above all, is a proxy's."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that linger in TIME_WAIT do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


_chosen: deque[int] = deque(maxlen=1000)
"""What was returned lately: the system gives a port out again as soon as it is let go."""


def choose_free_port() -> int:
    """Return a port nobody listens on at the moment, another one each time; for tests, where any will do."""
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in _chosen:
            _chosen.append(port)
            return port


def choose_free_block(size: int) -> int:
    """Return the first of `size` ports in a row that nobody listens on; for a stack beside other stacks.

    Below the range that the system gives to outgoing connections, which would take one now and then.
    """
    candidates = list(range(10_000, 30_000, size))
    random.shuffle(candidates)  # others choose too, at the same time
    for first in candidates:
        if all(is_free(port) for port in range(first, first + size)):
            return first
    raise StackError(f"there are no {size} free ports in a row between 10000 and 30000")
