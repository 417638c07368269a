"""What a service's processes say to their database, written down as it is sent, and said again to another one."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from service_chassis.database import pool as pool_module
from service_chassis.database.session import require_as_asked

_ABOUT_THE_SERVER = ("pg_is_in_recovery", "pg_settings", "_yoyo_migration", "sql_function", "typeinfo_tree", "'jit'")
"""Statements with one of these ask how the server is, ours and the driver's own, and not for a client's things."""
_PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----"


@dataclass
class Recording:
    """Statements to one database in the order in which they were done: session, text, arguments.

    `settings` are those that each session was begun with.
    """

    settings: list[Mapping[str, str]] = field(default_factory=list)
    statements: list[tuple[int, str, list[Any]]] = field(default_factory=list)

    def as_document(self, moment: datetime, results: list[Any]) -> dict[str, Any]:
        """Return it as JSON values, each text and each session's settings once."""
        texts = list(dict.fromkeys(text for _, text, _ in self.statements))
        return {
            "moment": moment.isoformat(),
            "settings": self.settings,
            "texts": texts,
            "statements": [
                {"session": session, "text": texts.index(text), "arguments": arguments, "result": result}
                for (session, text, arguments), result in zip(self.statements, results, strict=True)
            ],
        }


def record_sessions(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Recording]:
    """Write down, by database, what every pool's sessions send from now on."""
    recordings: dict[str, Recording] = defaultdict(Recording)

    async def require_and_record(connection: asyncpg.Connection, settings: Mapping[str, str]) -> None:
        await require_as_asked(connection, settings)
        recording = recordings[await connection.fetchval("SELECT current_database()")]
        recording.settings.append(settings)
        connection.add_query_logger(_note_into(recording, len(recording.settings) - 1))

    monkeypatch.setattr(pool_module, "require_as_asked", require_and_record)
    return recordings


def _note_into(recording: Recording, session: int) -> Callable[[Any], None]:
    def note(logged: Any) -> None:
        if not any(each in logged.query for each in _ABOUT_THE_SERVER):
            recording.statements.append((session, logged.query, [encode(each) for each in logged.args]))

    return note


async def replay(dsn: str, document: Mapping[str, Any]) -> list[Any]:
    """Say what was recorded to the database at `dsn`, as of the same moment; return what comes back of each.

    That is the columns' names and the rows, or the kind of the error.
    """
    results: list[Any] = []
    async with AsyncExitStack() as closing:

        async def connect(settings: Mapping[str, str]) -> asyncpg.Connection:
            connection = await asyncpg.connect(dsn, server_settings=dict(settings))
            closing.push_async_callback(connection.close)
            return connection

        await (await connect({})).execute(
            "CREATE OR REPLACE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"$$SELECT '{document['moment']}'::timestamptz$$"
        )
        sessions = [await connect(settings) for settings in document["settings"]]
        for statement in document["statements"]:
            connection, text = sessions[statement["session"]], document["texts"][statement["text"]]
            results.append(await _say(connection, text, [decode(each) for each in statement["arguments"]]))
    return results


async def _say(connection: asyncpg.Connection, text: str, arguments: list[Any]) -> Any:
    try:
        prepared = await connection.prepare(text)
        rows = await prepared.fetch(*arguments)
    except asyncpg.PostgresError as error:
        return {"error": type(error).__name__}
    columns = [attribute.name for attribute in prepared.get_attributes()]
    return {"columns": columns, "rows": orjson.loads(orjson.dumps([list(row) for row in rows], default=_as_text))}


def _as_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def forget_what_differs(results: list[Any], others: list[Any]) -> list[Any]:
    """Return `results` of one replay without the rows that another did not bring, as of numbers drawn at random."""
    return [
        result if result == other else {"columns": result["columns"]}
        for result, other in zip(results, others, strict=True)
    ]


def encode(value: Any) -> Any:
    """Return an argument as JSON values; what JSON does not have as an object that names its kind."""
    match value:
        case str() if value.startswith(_PRIVATE_KEY):
            return "a private key"
        case None | str() | int() | float():
            return value
        case list() | tuple() | set():
            return [encode(each) for each in value]
        case bytes():
            return {"bytes": value.hex()}
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case UUID():
            return {"uuid": str(value)}
    raise TypeError(type(value).__name__)


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "bytes": bytes.fromhex,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "seconds": lambda seconds: timedelta(seconds=seconds),
    "uuid": UUID,
}


def decode(value: Any) -> Any:
    """Return the argument that `encode` made `value` of."""
    match value:
        case list():
            return [decode(each) for each in value]
        case dict():
            [(kind, text)] = value.items()
            return _DECODERS[kind](text)
    return value
