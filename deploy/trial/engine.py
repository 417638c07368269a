"""The compose file on whatever engine there is, as a project of the trial's own."""

import http.client
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
ENGINE = os.environ.get("ENGINE", "docker")
COMMAND_TIMEOUT_SECONDS = 600.0
ASK_TIMEOUT_SECONDS = 30.0
NOT_COPIED = (".git", ".venv", ".local", ".env", "secrets", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
PAGES = ("PROMETHEUS", "GRAFANA")
"""Of the profile `observability`."""


class TrialFailed(Exception):
    """Something did not come out as it must; the text says what."""


def require(is_so: bool, what: str) -> None:
    """Raise TrialFailed with `what` unless it is so."""
    if not is_so:
        raise TrialFailed(what)


def why_no_engine() -> str | None:
    """Return why there is no engine to try it on; None where there is one."""
    for command in ([ENGINE, "info"], [ENGINE, "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return f"{ENGINE} is not there"
        if done.returncode:
            return f"`{' '.join(command)}` fails"
    return None


def choose_address() -> str:
    """Return an address on this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ask(
    address: str, path: str, headers: Mapping[str, str] | None = None, body: str | None = None
) -> tuple[int, str, str]:
    """Send a GET, or a POST where there is a body; return status, text and cookie."""
    connection = http.client.HTTPConnection(address, timeout=ASK_TIMEOUT_SECONDS)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode(), (response.getheader("Set-Cookie") or "").split(";")[0]
    finally:
        connection.close()


class Project:
    """A copy of the repository with containers, volumes and secrets of its own: nobody's own project is touched."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "metered-plans"
        shutil.copytree(ROOT, self.directory, ignore=shutil.ignore_patterns(*NOT_COPIED))
        # As somebody has it who lets nobody else read what they clone.
        for path in (self.directory, *self.directory.rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
        self.published = {
            name: choose_address()
            for name in ("PUBLISHED", *(f"{each}_PUBLISHED" for each in ("CATALOG_ADMIN", "METERING_ADMIN", *PAGES)))
        }
        self.url = f"http://{self.published['PUBLISHED']}"
        self.environment = {
            **os.environ,
            **self.published,
            "COMPOSE_PROJECT_NAME": f"metered-plans-trial-{secrets.token_hex(3)}",
            "COMPOSE_PROFILES": "demo",
            "TLS": "no",
        }

    def scale(self, **counts: int) -> None:
        """Have so many processes of each service from the next `up` on, as lines in .env would."""
        self.environment |= {f"{service.upper()}_PROCESSES": str(count) for service, count in counts.items()}

    def follow(self, page: str, line: str) -> str:
        """Do what a page says in a block of code, from `line` on, as it stands there; return what was printed."""
        lines = (self.directory / page).read_text().splitlines()
        first = next(number for number, each in enumerate(lines) if each.startswith(f"    {line}"))
        block = itertools.takewhile(lambda each: not each or each.startswith("    "), lines[first:])
        return self.run_lines(textwrap.dedent("\n".join(block)))

    def run_lines(self, lines: str) -> str:
        """Run lines of a shell in the directory; return what they printed."""
        return self._run(["bash", "-euo", "pipefail", "-c", lines.replace("docker ", f"{ENGINE} ")]).decode()

    def compose(self, *arguments: str) -> bytes:
        """Run a command of Compose and return what it printed. Raises TrialFailed with its words when it fails."""
        return self._run([ENGINE, "compose", *arguments])

    def engine(self, *arguments: str) -> bytes:
        """Run a command of the engine itself."""
        return self._run([ENGINE, *arguments])

    def read_secret(self, name: str) -> str:
        """Return one of the secrets."""
        return (self.directory / "secrets" / name).read_text().strip()

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers that run."""
        return self.compose("ps", "--quiet", service).decode().split()

    def operate(self, service: str, *arguments: str) -> str:
        """Run an operator's command of a service."""
        return self.compose("run", "--rm", "-T", f"{service}-migrate", *arguments).decode()

    def query(self, database: str, statement: str) -> str:
        """Return what a statement finds, unaligned."""
        options = ["--username=postgres", "--no-psqlrc", "-At", f"--dbname={database}", f"--command={statement}"]
        return self.compose("exec", "-T", "postgres", "psql", *options).decode().strip()

    def configuration(self, *options: str) -> tuple[str, dict[str, Any]]:
        """Return what Compose makes of the file and the environment, as text and read."""
        text = self.compose(*options, "config", "--format", "json").decode()
        return text, json.loads(text)

    def kill(self, container: str) -> None:
        """End a container's main process as the kernel would, whereupon the engine starts it again.

        Where it is no process of this machine, or another user's, by the engine, which is then told to start it.
        """
        pid = self.engine("inspect", "--format", "{{.State.Pid}}", container).decode().strip()
        try:
            if container in Path(f"/proc/{pid}/cgroup").read_text():
                os.kill(int(pid), signal.SIGKILL)
                return
        except OSError:
            pass
        self.engine("kill", "--signal", "KILL", container)
        self.engine("start", container)

    def is_well(self, container: str) -> bool:
        """Tell what its health check says now; the engine asks every few seconds only."""
        asked = json.loads(self.engine("inspect", "--format", "{{json .Config.Healthcheck.Test}}", container))
        try:
            self.engine("exec", container, *(["sh", "-c"] if asked[0] == "CMD-SHELL" else []), *asked[1:])
        except TrialFailed:
            return False
        return True

    def has_image(self, image: str) -> bool:
        """Tell whether an image is there, or can be fetched."""
        for command in (("image", "inspect", image), ("pull", "--quiet", image)):
            try:
                self.engine(*command)
            except TrialFailed:
                continue
            return True
        return False

    def remove(self) -> None:
        """Leave nothing behind."""
        self.environment["COMPOSE_PROFILES"] = "demo,admin,observability"
        self.compose("down", "--volumes", "--timeout", "5")

    def last_errors(self) -> str:
        """Return the last lines that say what went wrong in the containers."""
        lines = self.compose("logs", "--no-color", "--tail", "2000").decode(errors="replace").splitlines()
        told = [line for line in lines if '"level":"error"' in line or re.search(r'"status":5|DOWN', line)]
        return "\n".join(told[-30:])

    def _run(self, command: list[str]) -> bytes:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-5:]
            raise TrialFailed(f"`{' '.join(command)}` failed with {done.returncode}: " + " | ".join(words))
        return done.stdout
