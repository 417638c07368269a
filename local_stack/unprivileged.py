"""Run PostgreSQL as an ordinary account when we are root, which it refuses to run as."""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError

CAPABILITY_BITS = {"dac_read_search": 2, "dac_override": 1}
"""Capabilities that let a process pass directories closed to its account, the weaker first. capabilities(7)."""

MEND = "set STACK_DIR to a directory every account can reach, run as an ordinary user, or set POSTGRES_DSN"


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system account by its numbers."""

    uid: int
    gid: int


def choose_account(data_directory: Path) -> Account | None:
    """Return the account to run PostgreSQL as: None for our own, which is right unless we are root.

    As root: the owner of an existing data directory, because PostgreSQL runs only as its owner, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data_directory.exists() and (owner := data_directory.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(f"PostgreSQL cannot run as root and there is no account named nobody; {MEND}") from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def command_prefix(account: Account, death_signal: str) -> list[str]:
    """Return the words before a command that make it run as `account`, with no way back.

    The state directory or the virtual environment may lie under a directory closed to everyone but root (/root,
    as a rule, or pytest's). Loosening its mode would be a change to somebody's machine, so the process keeps one
    capability instead: to read and pass directories. PostgreSQL checks its own files with access(2), which drops
    the capabilities of ordinary accounts; `no_setuid_fixup` stops that (measured: without it initdb ends with
    "invalid binary"). The capability leaves the process with read access to every file: acceptable on a loopback
    address behind a generated password, and no more than root had a moment ago.

    `death_signal` goes through setpriv because a change of account erases what prctl(2) set before it.

    Raises StackError when util-linux's setpriv is not installed.
    """
    if shutil.which("setpriv") is None:
        raise StackError(f"PostgreSQL cannot run as root and setpriv (util-linux) is not installed; {MEND}")
    prefix = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    prefix += [f"--pdeathsig={death_signal}"]
    if (capability := _passing_capability()) is not None:
        prefix += [
            f"--inh-caps=+{capability}",
            f"--ambient-caps=+{capability}",
            "--securebits=+no_setuid_fixup",
        ]
    return [*prefix, "--"]


def _passing_capability() -> str | None:
    """Return the weakest capability we hold that passes closed directories; in a container it may be none.

    Docker's default set has `dac_override` and lacks the weaker `dac_read_search`.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    held = int(fields.get("CapEff", "0"), 16)
    return next((name for name, bit in CAPABILITY_BITS.items() if held >> bit & 1), None)
