"""The table of what runs: names, commands, ports, who needs whom, how each says that it is ready."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from local_stack.errors import StackError
from local_stack.ports import LOOPBACK, is_free

DEFAULT_PORT_BASE = 8081
PORT_BLOCK = 10
"""Ports used from the first on: three services, their three operations ports, administration of catalog and metering,
PostgreSQL, Redis."""
POSTGRES_PORT_OFFSET = 8
REDIS_PORT_OFFSET = 9

HEALTH_PATH = "/readyz"


@dataclass(frozen=True, slots=True)
class Service:
    """One of our services. Its settings' variables begin with `prefix`."""

    name: str
    port_offset: int
    needs: tuple[str, ...]
    admin_port_offset: int | None = None
    """Of the listener of administration, where there is one."""

    @property
    def prefix(self) -> str:
        """What the names of its environment variables begin with."""
        return f"{self.name.upper()}_"

    @property
    def operations_port_offset(self) -> int:
        """Where /livez, /readyz and /metrics are."""
        return self.port_offset + 3

    def command(self, *arguments: str) -> list[str]:
        """Return its command line with this interpreter: `serve`, `migrate`."""
        return [sys.executable, "-m", f"{self.name}_service", *arguments]


SERVICES = (
    Service("catalog", 0, needs=("postgres",), admin_port_offset=6),
    Service("metering", 2, needs=("postgres", "redis"), admin_port_offset=7),
    Service("activity", 1, needs=("postgres", "catalog", "metering")),
)
"""In the order of starting: nobody before what it needs. Stopping goes backwards."""

GUEST = "llm"
"""The service that docs/meter-your-endpoint.md makes: not started here, and has a database and a key of its own."""
DATABASES = (*(service.name for service in SERVICES), GUEST)


def port_base_from(environment: Mapping[str, str]) -> int:
    """Return the first port of the block that STACK_PORT_BASE names. Raises StackError when it is no such port."""
    text = environment.get("STACK_PORT_BASE") or str(DEFAULT_PORT_BASE)
    highest = 65535 - PORT_BLOCK + 1
    if not text.isdecimal() or not 1 <= int(text) <= highest:
        raise StackError(f"STACK_PORT_BASE must be a port number from 1 to {highest}, not {text!r}")
    return int(text)


def require_free_ports(wanted: Mapping[str, int], port_base: int) -> None:
    """Raise StackError naming the first port that is taken, who wanted it, and the way out."""
    for owner, port in wanted.items():
        if not is_free(port):
            raise StackError(
                f"port {port}, wanted for {owner}, is in use on {LOOPBACK}: free it, or set STACK_PORT_BASE "
                f"(now {port_base}) to the first of {PORT_BLOCK} free ports"
            )
