"""What the clients did and were told: written down before sending, and again after the answer."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REFUSALS = frozenset({400, 401, 403, 404, 429, 503})
"""Answers that say for certain that nothing was done."""


@dataclass(slots=True)
class Attempt:
    """One request. `status` is None while, and for ever if, no answer came: its outcome is unknown, as after a 500.

    `operation` names what the caller wants: retries with one Idempotency-Key are attempts at one operation.
    """

    number: int
    operation: str
    kind: str
    client_id: str
    begun_at: datetime
    key: str | None = None
    play_id: str | None = None
    user_id: str | None = None
    ended_at: datetime | None = None
    status: int | None = None
    code: str | None = None
    answer: Any = None
    fault: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the caller cannot know what was done."""
        return self.status is None or (self.status >= 500 and not self.is_refused)

    @property
    def is_refused(self) -> bool:
        """Whether the caller knows that nothing was done."""
        return self.status in REFUSALS


@dataclass(slots=True)
class Change:
    """A grant or a new policy of a client, as an operator made it: in doubt between its two moments."""

    client_id: str
    begun_at: datetime
    credits: int = 0
    policy: Mapping[str, Any] | None = None
    done_at: datetime | None = None


@dataclass(slots=True)
class Refund:
    """What an operator asked to be given back of an event. `credits` is what was answered, if anything was."""

    client_id: str
    refund_id: str
    event_id: str
    credits: int | None = None


@dataclass
class Record:
    """What clients and operators did, or a part of it."""

    attempts: list[Attempt] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    torn_reads: list[str] = field(default_factory=list)


class History(Record):
    """Everything that clients and operators did in a run, also as lines of a file as it happens."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.reads = 0
        self._lines = file.open("a", encoding="utf-8")

    def begin(self, operation: str, kind: str, client_id: str, **what: Any) -> Attempt:
        """Note a request that is about to be sent."""
        attempt = Attempt(len(self.attempts), operation, kind, client_id, datetime.now(UTC), **what)
        self.attempts.append(attempt)
        self._write({"sent": attempt.number, **_plain(attempt)})
        return attempt

    def end(self, attempt: Attempt, status: int | None, answer: Any = None, fault: str | None = None) -> Attempt:
        """Note what came back, or that nothing usable did."""
        attempt.ended_at = datetime.now(UTC)
        attempt.status, attempt.answer, attempt.fault = status, answer, fault
        if isinstance(answer, dict):
            attempt.code = answer.get("code")
        self._write(
            {
                "answered": attempt.number,
                "at": str(attempt.ended_at),
                "status": status,
                "fault": fault,
                "answer": answer,
            }
        )
        return attempt

    def related(self, names: set[str | None]) -> Iterator[str]:
        """Yield the attempts that concern any of `names` (operations, plays, keys), a line each."""
        for attempt in self.attempts:
            if (names - {None}) & {attempt.operation, attempt.play_id, attempt.key, _play_of(attempt)}:
                yield json.dumps(_plain(attempt), default=str)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line, default=str) + "\n")


def _plain(attempt: Attempt) -> dict[str, Any]:
    return {name: value for name, value in asdict(attempt).items() if value is not None}


def _play_of(attempt: Attempt) -> str | None:
    data = attempt.answer.get("data") if isinstance(attempt.answer, dict) else None
    return data.get("id") if isinstance(data, dict) else None
