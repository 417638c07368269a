"""A server process of ours: started with a log file, watched, stopped within a bounded time, never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from local_stack.errors import StackError

LAUNCHER = Path(__file__).with_name("end_with_parent.py")

KILL_WAIT_SECONDS = 5.0
"""How long a process may take to disappear after SIGKILL. Longer means it hangs in the kernel."""

LOG_TAIL_LINES = 8
"""Enough for a traceback's end or PostgreSQL's FATAL line with its hint, and short enough to read."""


class ChildProcess:
    """Run one command as a child that dies with this process.

    Its output goes to `log_path`; the log of the run before is kept beside it as `<name>.previous.log`.
    It gets a session of its own, so that a Ctrl-C in the terminal reaches this process only, which then stops
    its children in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log_path: Path,
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
        standard_input: bytes = b"",
        inherited_descriptors: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start the command.

        `environment` replaces the whole environment; None keeps this process's. `standard_input` must fit a pipe
        (64 KiB). `inherited_descriptors` stay open in the child: the lock of the state directory, for one.

        Raises StackError when the command cannot be executed.
        """
        self.name = name
        self.log_path = log_path
        self._stop_signal = stop_signal
        if log_path.exists():
            log_path.replace(log_path.with_suffix(".previous.log"))
        with log_path.open("wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own table of commands
                    _end_with_parent([str(part) for part in command], stop_signal),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=working_directory,
                    pass_fds=inherited_descriptors,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{name} cannot be started: {error}") from error
        with suppress(BrokenPipeError):  # it is gone already: whoever waits for its readiness reports that
            if self._process.stdin is not None:
                self._process.stdin.write(standard_input)
                self._process.stdin.close()

    @property
    def pid(self) -> int:
        """The server's own process id: what starts it becomes it."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait for its end and return the exit status; None, and it goes on, when it takes longer."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self) -> str:
        """Return the end of its log, indented, ready to be printed under a message."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_TAIL_LINES:])

    def death_notice(self) -> str:
        """Describe its end: name, exit status, log file and the last lines in it."""
        code = self.exit_code()
        how = (
            f"was ended by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exited with status {code}"
        )
        return f"{self.name} {how}; its log is {self.log_path}\n{self.last_lines()}".rstrip()

    def stop(self, wait_seconds: float) -> bool:
        """Ask it to stop, wait, and end it with SIGKILL if it is still there.

        Returns whether it stopped by itself. A process that has ended already is fine.
        """
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(wait_seconds)
            return True
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_WAIT_SECONDS)
            return False


def _end_with_parent(command: list[str], death_signal: signal.Signals) -> list[str]:
    """Return the command line whose process ends when this one does; on Linux, elsewhere `command` as it is.

    The kernel watches the starting *thread*: start children from the main one.
    """
    if not sys.platform.startswith("linux"):
        return command
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(int(death_signal)), str(os.getpid())]
    return [*launcher, *command]
