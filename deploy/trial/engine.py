"""The compose file on whatever engine there is, as a project of the trial's own."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
ENGINE = os.environ.get("ENGINE", "docker")
COMMAND_TIMEOUT_SECONDS = 600.0


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


class Project:
    """Containers, volumes and secrets of the trial: nobody's own project of this compose file is touched."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"metered-plans-trial-{secrets.token_hex(3)}",
            "COMPOSE_PROFILES": "demo",
            "SECRETS": str(directory / "secrets"),
            "PUBLISHED": f"127.0.0.1:{port}",
            "TLS": "no",
        }

    def write_env(self) -> None:
        """Write what is missing of the secrets, as `make env` does."""
        self._run([sys.executable, str(ROOT / "deploy" / "write_env.py")], cwd=self.directory)

    def compose(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run a command of Compose and return what it printed. Raises TrialFailed with its words when it fails."""
        return self._run([ENGINE, "compose", *arguments], stdin=stdin)

    def engine(self, *arguments: str) -> bytes:
        """Run a command of the engine itself."""
        return self._run([ENGINE, *arguments])

    def roll(self, *services: str) -> None:
        """Replace the containers of services without a gap."""
        self._run([str(ROOT / "deploy" / "roll"), *services])

    def change_password(self, role: str) -> None:
        """Change the password of a role that a service logs in as."""
        self._run([str(ROOT / "deploy" / "change-password"), role], cwd=self.directory)

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

    def configuration(self) -> tuple[str, dict[str, Any]]:
        """Return what Compose makes of the file and the environment, as text and read."""
        text = self.compose("config", "--format", "json").decode()
        return text, json.loads(text)

    def last_errors(self) -> str:
        """Return the last lines that say what went wrong in the containers."""
        lines = self.compose("logs", "--no-color", "--tail", "2000").decode(errors="replace").splitlines()
        told = [line for line in lines if '"level":"error"' in line or re.search(r'"status":5|DOWN', line)]
        return "\n".join(told[-30:])

    def _run(self, command: list[str], *, stdin: bytes | None = None, cwd: Path = ROOT) -> bytes:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-5:]
            raise TrialFailed(f"`{' '.join(command)}` failed with {done.returncode}: " + " | ".join(words))
        return done.stdout
