"""What `make run` prints once everything is ready: where it is, and a tour to paste."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from local_stack.processes import REPOSITORY
from local_stack.service_environment import ServiceEnvironment
from local_stack.state_directory import DEFAULT_DIRECTORY

TOUR = Path(__file__).with_name("tour.sh")
"""The tour as shell lines. No comments in it: an interactive zsh would run them."""


def render_welcome(
    environments: Mapping[str, ServiceEnvironment], metering_pid: int | None, state: Path, login_url: str
) -> str:
    """Return the whole text for a person at a terminal.

    `state` is the state directory, `login_url` logs in to the console once.
    """
    addresses = "\n".join(
        f"  {name:<9} {each.url}   its API: {each.url}/docs   health: {each.operations_url}/readyz"
        for name, each in environments.items()
    )
    administration = "\n".join(
        f"  {name:<9} {each.admin_url}   its API: {each.admin_url}/docs"
        for name, each in environments.items()
        if each.admin_url
    )
    return f"""
Everything is ready.

{addresses}

Administration, with the keys that stand in stack.json:

{administration}

The console, for people, in a browser: {environments["metering"].console_url}
This link logs you in, once and within ten minutes; afterwards the admin key does:

  {login_url}

  for programs: {state / "stack.json"} (addresses, keys, database URLs, process ids)
  logs: {state / "logs"}

Paste this into another terminal, as a whole or piece by piece:

{render_tour(state)}
What to try next: send a create with the same Idempotency-Key twice; read demo's plays as demo-partner, with
?clientId=demo; freeze metering (kill -STOP {metering_pid}, then -CONT) and watch a create fail without a charge.

Ctrl-C here stops everything. The data stays for the next start; make clean-data forgets it.
"""


def render_tour(state: Path) -> str:
    """Return lines for a shell with curl and Python: token, plans, play, completion, three refusals, ledger."""
    found = [] if state == REPOSITORY / DEFAULT_DIRECTORY else [f"export STACK_DIR={shlex.quote(str(state))}"]
    return "\n".join([f"cd {shlex.quote(str(REPOSITORY))}", *found, TOUR.read_text()])
