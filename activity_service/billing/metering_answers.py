"""Read metering's answers with suspicion: what is not exactly as agreed is no answer.

Pure: takes what the JSON says, answers values. Raises NonsenseAnswer when the whole cannot be used; one bad
decision of a batch is that event's own fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from activity_service.billing.event import BillableEvent
from activity_service.errors import SENTENCES, EventConflict, EventOfOtherContent, EventRefused, MeteringUnavailable
from service_chassis.errors import ServiceError

MAX_SENTENCE_CHARACTERS = 500


class NonsenseAnswer(ValueError):
    """The answer is not what was agreed; the text is for developers."""


@dataclass(frozen=True, slots=True)
class HeldPage:
    """A page of what metering holds for us, and where the next one begins."""

    events: Sequence[BillableEvent]
    next_cursor: str | None


def read_decisions(answer: Any, events: Sequence[BillableEvent]) -> list[UUID | ServiceError]:
    """Answer, for each of `events`, the hold that was granted, or the error that its request ends with."""
    entries = _entries(answer, "decisions", len(events))
    return [_read_decision(entry, event) for entry, event in zip(entries, events, strict=True)]


def _read_decision(entry: Any, event: BillableEvent) -> UUID | ServiceError:
    try:
        if _text(entry, "eventId") != event.event_id:
            raise NonsenseAnswer("a decision about another event")
        match entry.get("decision"):
            case "granted":
                return _uuid(entry, "holdId")
            case "denied":
                return _read_refusal(entry)
            case "conflict" if entry.get("code") == "event_with_other_content":
                return EventOfOtherContent()
            case "conflict" | "invalid":
                return EventConflict()
            case _:
                raise NonsenseAnswer("no decision")
    except NonsenseAnswer as error:
        failure = MeteringUnavailable()
        failure.__cause__ = error
        return failure


def _read_refusal(entry: dict[str, Any]) -> EventRefused:
    code, seconds, sentence = entry.get("code"), entry.get("retryAfterSeconds"), entry.get("message")
    if not isinstance(code, str) or code not in SENTENCES:
        raise NonsenseAnswer("a refusal of no known kind")
    if seconds is not None and (type(seconds) is not int or seconds < 0):
        raise NonsenseAnswer("retryAfterSeconds is no number of seconds")
    if sentence is not None and not (isinstance(sentence, str) and 0 < len(sentence) <= MAX_SENTENCE_CHARACTERS):
        raise NonsenseAnswer("message is no sentence")
    return EventRefused(code, seconds, sentence)


def read_settlements(answer: Any, events: Sequence[BillableEvent]) -> list[str]:
    """Answer the state that metering says each of `events` is in now."""
    entries = _entries(answer, "results", len(events))
    for entry, event in zip(entries, events, strict=True):
        if _text(entry, "eventId") != event.event_id:
            raise NonsenseAnswer("a settlement of another event")
    return [_text(entry, "state") for entry in entries]


def read_releases(answer: Any, hold_ids: Sequence[UUID]) -> list[str]:
    """Answer the state of each of `hold_ids`."""
    entries = _entries(answer, "results", len(hold_ids))
    for entry, hold_id in zip(entries, hold_ids, strict=True):
        if _uuid(entry, "holdId") != hold_id:
            raise NonsenseAnswer("a release of another hold")
    return [_text(entry, "state") for entry in entries]


def read_held_page(answer: Any) -> HeldPage:
    """Answer the held events of a page."""
    entries = _entries(answer, "events")
    cursor = answer.get("nextCursor")
    if cursor is not None and not (isinstance(cursor, str) and cursor):
        raise NonsenseAnswer("nextCursor is no cursor")
    return HeldPage([_read_event(entry) for entry in entries], cursor)


def _read_event(entry: Any) -> BillableEvent:
    hold_id = _uuid(entry, "holdId")
    user_id, units = entry.get("userId"), entry.get("units", 1)
    if user_id is not None and not isinstance(user_id, str):
        raise NonsenseAnswer("userId is no string")
    if type(units) is not int or units < 1:
        raise NonsenseAnswer("units is no number")
    return BillableEvent(
        hold_id, _text(entry, "eventId"), _text(entry, "clientId"), _text(entry, "eventType"), user_id, units
    )


def _entries(answer: Any, name: str, expected: int | None = None) -> list[Any]:
    entries = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(entries, list) or (expected is not None and len(entries) != expected):
        raise NonsenseAnswer(f"no {name}, or not one each")
    return entries


def _text(entry: Any, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value:
        raise NonsenseAnswer(f"{name} is no string")
    return value


def _uuid(entry: Any, name: str) -> UUID:
    try:
        return UUID(_text(entry, name))
    except ValueError as error:
        raise NonsenseAnswer(f"{name} is no UUID") from error
