"""`python freeze.py PID...`: stop these processes (SIGSTOP) until standard input ends, then let all of them go on.

Says a line when they stand still.

A process of its own, because a frozen process does not end with its parent: whoever froze it may be killed, its
pipe is closed then, and what was frozen wakes up to the signal that ends it.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence


def send(process_ids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each; fine when one is gone."""
    for process_id in process_ids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)


def main() -> None:
    """Freeze, wait, thaw."""
    process_ids = [int(argument) for argument in sys.argv[1:]]
    try:
        send(process_ids, signal.SIGSTOP)
        print(flush=True)
        sys.stdin.read()
    finally:
        send(process_ids, signal.SIGCONT)


if __name__ == "__main__":
    main()
