"""A cluster of real servers, made as an operator makes one, and what operators do to it."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from local_stack.ports import LOOPBACK, choose_free_port
from local_stack.redis_server import RedisServer

NODE_TIMEOUT_MILLISECONDS = 1000
WAIT_SECONDS = 30.0


class ValkeyCluster:
    """Primaries that share the slots evenly, in order; a replica for each on request."""

    def __init__(self, directory: Path, *, primaries: int) -> None:
        self._directory = directory
        self._password = secrets.token_urlsafe()
        self.servers: list[RedisServer] = []
        self.clients: list[Any] = []
        self._buses: list[int] = []
        for _ in range(primaries):
            self._add()
        share = REDIS_CLUSTER_HASH_SLOTS / primaries
        for n, client in enumerate(self.clients):
            client.execute_command("CLUSTER ADDSLOTSRANGE", round(n * share), round((n + 1) * share) - 1)
        self._wait_until_whole()

    def _add(self) -> Any:
        number, port, bus = len(self.servers), choose_free_port(), choose_free_port()
        directory = self._directory / f"node{number}"
        directory.mkdir()
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": str(bus),
            "cluster-node-timeout": str(NODE_TIMEOUT_MILLISECONDS),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
            "masterauth": self._password,
        }
        server = RedisServer(directory, port, self._password, directory / "log", settings=settings)
        server.start()
        self.servers.append(server)
        self._buses.append(bus)
        client: Any = redis.Redis.from_url(server.url)
        self.clients.append(client)
        if number:
            client.execute_command("CLUSTER MEET", LOOPBACK, self.servers[0].port, self._buses[0])
        return client

    def add_empty_primary(self) -> int:
        """Add a primary without a slot, known to all; return its number."""
        self._add()
        self._wait_until_all_know()
        self._wait_until_whole()
        return len(self.servers) - 1

    def add_replica(self, of: int) -> int:
        """Add a replica of a primary, in step with it; return its number."""
        client = self._add()
        self._wait_until_all_know()
        client.execute_command("CLUSTER REPLICATE", self.identity(of))
        self._wait_for(lambda: client.info("replication").get("master_link_status") == "up")
        return len(self.servers) - 1

    def identity(self, number: int) -> str:
        identity: bytes = self.clients[number].execute_command("CLUSTER MYID")
        return identity.decode()

    def owner(self, key: str) -> int:
        """Return the number of the primary whose the key's slot is, as the first living server sees it."""
        return self._owner_of(key_slot(key.encode()))

    def _owner_of(self, slot: int) -> int:
        living = next(n for n, server in enumerate(self.servers) if server.process.exit_code() is None)
        ranges = self.clients[living].execute_command("CLUSTER SLOTS")
        port = next(primary[1] for first, last, primary, *_ in ranges if first <= slot <= last)
        return [server.port for server in self.servers].index(port)

    def begin_to_move(self, slot: int, source: int, target: int) -> None:
        """Have the keys of a slot asked for at both."""
        self.clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.identity(source))
        self.clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.identity(target))

    def move_keys(self, slot: int, source: int, target: int) -> None:
        while keys := self.clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            self.clients[source].execute_command(
                *("MIGRATE", LOOPBACK, self.servers[target].port, "", 0, 5000, "AUTH", self._password, "KEYS", *keys)
            )

    def end_move(self, slot: int, source: int, target: int) -> None:
        for number in (target, source):
            self.clients[number].execute_command("CLUSTER SETSLOT", slot, "NODE", self.identity(target))

    def move(self, slot: int, source: int, target: int) -> None:
        """Move a slot key by key, as `valkey-cli --cluster reshard` does."""
        self.begin_to_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def move_at_once(self, slots: tuple[int, int], source: int, target: int) -> None:
        """Move a range of slots, each at one moment, as Valkey can from 9 on."""
        command = ("CLUSTER MIGRATESLOTS", "SLOTSRANGE", *slots, "NODE", self.identity(target))
        self.clients[source].execute_command(*command)
        self._wait_for(lambda: {self._owner_of(slot) for slot in slots} == {target})

    def kill(self, number: int) -> None:
        self.servers[number].process._process.kill()
        self.servers[number].process.wait(10)

    def wait_until_promoted(self, number: int) -> None:
        self._wait_for(lambda: self.clients[number].info("replication")["role"] == "master")

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for server in self.servers:
            server.process.stop(0.1)

    def _wait_until_all_know(self) -> None:
        def all_know() -> bool:
            known = [str(client.execute_command("CLUSTER NODES")) for client in self.clients]
            identities = [self.identity(number) for number in range(len(self.servers))]
            return all(identity in nodes for nodes in known for identity in identities)

        self._wait_for(all_know)

    def _wait_until_whole(self) -> None:
        def is_whole() -> bool:
            states = [client.execute_command("CLUSTER INFO")["cluster_state"] for client in self.clients]
            return set(states) == {"ok"}

        self._wait_for(is_whole)

    @staticmethod
    def _wait_for(condition: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.02)
