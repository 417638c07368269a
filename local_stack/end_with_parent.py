"""`python end_with_parent.py SIGNAL PARENT COMMAND...`: become COMMAND, which gets SIGNAL when process PARENT dies.

However it dies: the kernel sends the signal, so that not even a parent killed with SIGKILL leaves servers behind.
A program of its own and no hook between fork and exec, where a process with threads may deadlock. Linux only.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2). Lasts through execve(2), and not through a change of account: see `unprivileged`."""


def main() -> None:
    """Read the arguments and never return."""
    number, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit("the parent died before this process was ready to be told")
    try:
        os.execvp(command[0], command)  # noqa: S606 - a table of our own commands
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
