"""Metering under authorizations, for the questions that compare it."""

from collections.abc import Sequence

from bench.processes import Server
from bench.product import Product
from bench.stage import Stage, fresh_seed, name_clients
from bench.tally import Tally, count_rows
from bench.wrk import Load, run_wrk


class Authorizations:
    """The metering service on its core, and `clients` with credits."""

    def __init__(self, stage: Stage, clients: int, command: Sequence[str] | None = None) -> None:
        """Start it; by `command`, a launcher of the bench's own, instead of its own command line."""
        self.product: Product = stage.start_product("metering", commands={"metering": command} if command else None)
        self.product.grant_credits(name_clients(clients))
        self.clients = clients
        self.tally = Tally()

    @property
    def servers(self) -> list[Server]:
        """Whose processor time a decision costs."""
        return [self.product.servers["metering"]]

    def load(self, connections: int, seconds: int, *, clients: int | None = None, events: int = 1) -> Load:
        """Authorize for so many seconds, for the first of the clients; `events` in each request."""
        load = self.send(connections, seconds, clients=clients or self.clients, events=events)
        return self.tally.count(load, connections, events)

    def send(self, connections: int, seconds: int, **parameters: object) -> Load:
        """Send such requests, perhaps to another `path`, that nobody counts."""
        parameters = {"key": self.product.events_key, "clients": self.clients, "seed": fresh_seed()} | parameters
        url = self.product.url("metering")
        return run_wrk(url, "authorize", seconds=seconds, connections=connections, parameters=parameters)

    def check(self) -> list[str]:
        """Hold what was granted against the holds, and run metering's audit: sums agree, nobody is below zero."""
        kept = count_rows(self.product.environments["metering"].dsn, "SELECT count(*) FROM hold")
        return [*self.product.audit("metering"), *self.tally.check(kept, "events")]
