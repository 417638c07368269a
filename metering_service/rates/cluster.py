"""Request rates on a cluster: each client's buckets are in one slot, and go to the primary that has it.

Routed here and not by redis-py's cluster client, which resolves names, connects and asks who has what while a request
waits, and for every node when one is away: docs/decisions, "Rates on a cluster".
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import redis.exceptions
from redis.asyncio.connection import Connection, ConnectionPool
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from metering_service.rates.connections import (
    RECONNECT_PAUSE_SECONDS,
    SCRIPT,
    SERVER_FAULTS,
    KeptConnections,
    ScriptCall,
    call,
)
from metering_service.rates.outage import Outage

_ROUNDS_AT_ONCE = 2
"""How often calls are sent on without a pause: to where a slot moved, and to whom it is moving."""
_ROUND_PAUSE_SECONDS = 0.005
_LOOK_AGAIN_SECONDS = 1.0
"""After an answer that nothing of ours mends: how long it is not told again."""


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


@dataclass(slots=True)
class _Asked:
    """A call under way: its place among the answers, and how the next node is asked."""

    number: int
    call: ScriptCall
    address: Address | None
    is_asking: bool = False
    by_text: bool = False
    error: redis.exceptions.ResponseError | None = None


class RateCluster:
    """Kept connections to each primary, and which of them has which slot, learnt beside the requests."""

    def __init__(self, factory: ConnectionPool, outage: Outage, *, timeout_seconds: float) -> None:
        """Take what makes connections of the URL: its server is asked who has what when no other is left."""
        self._factory = factory
        self._outage = outage
        self._timeout_seconds = timeout_seconds
        self._nodes: dict[Address, KeptConnections] = {}
        self._slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._turn = 0
        self._learning: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Learn who has what and open connections; what is away now is tried again and again."""
        try:
            await self._learn()
        except SERVER_FAULTS as error:
            self._outage.begin(error)
        if not self._is_whole:
            self._learn_soon()

    async def ask(self, calls: Sequence[ScriptCall]) -> list[list[int] | None]:
        """Return what the script returns of each call, each about one client; None of those without a server."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_seconds
        answers: list[list[int] | None] = [None] * len(calls)
        waiting = [
            _Asked(number, each, self._slots[key_slot(each.keys[0].encode())]) for number, each in enumerate(calls)
        ]
        rounds = 0
        while waiting:
            if rounds > _ROUNDS_AT_ONCE:
                await asyncio.sleep(_ROUND_PAUSE_SECONDS)
            if rounds and loop.time() > until - _ROUND_PAUSE_SECONDS:
                for asked in waiting:
                    self._give_up(asked)
                break
            rounds += 1
            by_node = defaultdict(list)
            for asked in waiting:
                by_node[asked.address].append(asked)
            replies = await asyncio.gather(
                *(self._exchange(address, group, until) for address, group in by_node.items())
            )
            again = []
            for (address, group), of_group in zip(by_node.items(), replies, strict=True):
                for asked, reply in zip(group, of_group, strict=True):
                    if not isinstance(reply, redis.exceptions.ResponseError):
                        answers[asked.number] = reply
                    elif address is not None and self._may_go_on(asked, address, reply):
                        again.append(asked)
                    else:
                        self._give_up(asked)
            waiting = again
        return answers

    async def _exchange(self, address: Address | None, group: Sequence[_Asked], until: float) -> Sequence[Any]:
        """Return each call's answer, or the error that is the node's answer; None where nobody answered."""
        replies = None
        if address is not None:
            node = self._nodes.get(address)
            if node is None:
                node = self._add_node(address)
            await node.wait_once(until)
            replies = await node.use(partial(_pipeline, group), until)
        if replies is None:
            self._learn_soon()
            return [None] * len(group)
        return replies

    def _may_go_on(self, asked: _Asked, address: Address, error: redis.exceptions.ResponseError) -> bool:
        """Take note of what a node answered instead; return whether the call may be sent once more."""
        asked.error = error
        if isinstance(error, redis.exceptions.NoScriptError):
            asked.by_text = True
        elif isinstance(error, redis.exceptions.MovedError):
            asked.address = self._slots[error.slot_id] = Address(error.host or address.host, error.port)
            asked.is_asking = False
            self._learn_soon()
        elif isinstance(error, redis.exceptions.AskError):
            asked.address, asked.is_asking = Address(error.host or address.host, error.port), True
        else:
            return isinstance(error, redis.exceptions.TryAgainError)
        return True

    def _give_up(self, asked: _Asked) -> None:
        if asked.error is not None:
            self._outage.begin(asked.error)
            self._learn_soon(after_seconds=_LOOK_AGAIN_SECONDS)

    @property
    def _is_whole(self) -> bool:
        return None not in self._slots and all(node.is_whole for node in self._nodes.values())

    def _learn_soon(self, *, after_seconds: float = 0.0) -> None:
        if self._learning is None or self._learning.done():
            self._learning = self._outage.mend(self._learn_until_whole(after_seconds))

    async def _learn_until_whole(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        while True:
            try:
                await self._learn()
            except SERVER_FAULTS as error:
                self._outage.begin(error)
            if self._is_whole:
                return
            if None in self._slots:
                self._outage.begin(redis.exceptions.ClusterDownError("slots without a node"))
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    async def _learn(self) -> None:
        """Learn who has what, and leave those that have nothing any more. Raises SERVER_FAULTS."""
        ranges, host = await self._ask_who_has_what()
        slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (name, port, *_), *_ in ranges:
            # A node that was not told its name is where it was asked.
            address = Address(name.decode() if name else host, port)
            slots[first : last + 1] = [address] * (last + 1 - first)
        self._slots = slots
        present = set(slots) - {None}
        for address in self._nodes.keys() - present:
            await self._nodes.pop(address).aclose()
        added = [self._add_node(address) for address in present - self._nodes.keys() if address is not None]
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        await asyncio.gather(*(node.wait_once(until) for node in added))

    async def _ask_who_has_what(self) -> tuple[Any, str]:
        """Ask one node after the other until one answers; return its answer and its host.

        Those that are connected first, and another one each time: a node that was cut off from the others still
        believes what was. Raises SERVER_FAULTS.
        """
        self._turn += 1
        known = [(node, address.host) for address, node in self._nodes.items()]
        turn = self._turn % len(known) if known else 0
        in_turn = sorted(known[turn:] + known[:turn], key=lambda each: not each[0].is_whole)
        seed = self._make_node(self._factory)
        for node, host in [*in_turn, (seed, self._factory.connection_kwargs.get("host", "localhost"))]:
            try:
                return await node.ask_apart("CLUSTER SLOTS"), host
            except SERVER_FAULTS as error:
                fault = error
        raise fault

    def _make_node(self, factory: ConnectionPool) -> KeptConnections:
        return KeptConnections(factory, _load_script, self._outage, prove_seconds=self._timeout_seconds)

    def _add_node(self, address: Address) -> KeptConnections:
        options = {**self._factory.connection_kwargs, **address._asdict()}
        # Nodes name each other by addresses, also to whoever came through a socket file.
        kind = Connection if options.pop("path", None) else self._factory.connection_class
        node = self._nodes[address] = self._make_node(ConnectionPool(kind, **options))
        node.connect_soon()
        return node

    async def aclose(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.aclose()


async def _load_script(connection: Connection) -> None:
    """Have the node know the script. That it takes places no key proves: it may have no slot yet."""
    await call(connection, "SCRIPT LOAD", SCRIPT)


async def _pipeline(group: Sequence[_Asked], connection: Connection) -> list[Any]:
    commands: list[Sequence[Any]] = []
    for asked in group:
        if asked.is_asking:
            commands.append(("ASKING",))
        commands.append(asked.call.as_command(by_text=asked.by_text))
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Any] = []
    for asked in group:
        if asked.is_asking:
            await _read(connection)
        replies.append(await _read(connection))
    return replies


async def _read(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except redis.exceptions.ResponseError as error:
        return error
