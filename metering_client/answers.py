"""Read metering's responses with suspicion: what is not exactly as agreed is no response.

Pure: takes what the JSON says, returns values. Raises MalformedResponse when the whole cannot be used; one bad
decision of a batch is that event's own fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from metering_client.errors import (
    SENTENCES,
    EventConflict,
    EventNotSold,
    EventOfOtherContent,
    EventRefused,
    HoldReleased,
    MalformedResponse,
    MeteringUnavailable,
    NotDecided,
)
from metering_client.event import BillableEvent, Grant
from metering_client.limits import Limit, as_headers
from service_chassis.errors import ServiceError

MAX_SENTENCE_CHARACTERS = 500
_CONFLICTS = {"event_with_other_content": EventOfOtherContent, "hold_released": HoldReleased}


@dataclass(frozen=True, slots=True)
class HeldPage:
    """A page of what metering holds for us, and where the next one begins."""

    events: Sequence[BillableEvent]
    next_cursor: str | None


def read_decisions(document: Any, events: Sequence[BillableEvent]) -> list[Grant | ServiceError]:
    """Return, for each of `events`, the grant, or the error that its request ends with."""
    entries = take_entries(document, "decisions", len(events))
    return [_read_decision(entry, event) for entry, event in zip(entries, events, strict=True)]


def _read_decision(entry: Any, event: BillableEvent) -> Grant | ServiceError:
    try:
        if take_text(entry, "eventId") != event.event_id:
            raise MalformedResponse("a decision about another event")
        match entry.get("decision"):
            case "granted":
                return _read_grant(entry, event)
            case "denied" if entry.get("code") == "event_type_not_sold":
                receipt = entry.get("receipt")
                policy_id = receipt.get("policyId") if isinstance(receipt, dict) else None
                return EventNotSold(event.event_type, event.client_id, str(policy_id))
            case "denied":
                return _read_refusal(entry)
            case "conflict":
                return _CONFLICTS.get(entry.get("code", ""), EventConflict)()
            case "invalid":
                return EventConflict()
            case "error":
                return NotDecided()
            case _:
                raise MalformedResponse("no decision")
    except (MalformedResponse, TypeError, AttributeError) as error:
        failure = MeteringUnavailable()
        failure.__cause__ = error
        return failure


def _read_grant(entry: dict[str, Any], event: BillableEvent) -> Grant:
    hold_id = event.hold_id if entry.get("holdId") == event.hold_id else _uuid(entry, "holdId")
    match entry.get("state"):
        case "settled":
            return Grant(hold_id, None)
        case "held":
            return Grant(hold_id, take_moment(entry, "heldAt"), _read_limits(entry))
        case _:
            raise MalformedResponse("a grant in no known state")


def _read_refusal(entry: dict[str, Any]) -> EventRefused:
    code, seconds, sentence = entry.get("code"), entry.get("retryAfterSeconds"), entry.get("message")
    if not isinstance(code, str) or code not in SENTENCES:
        raise MalformedResponse("a refusal of no known kind")
    if seconds is not None and (type(seconds) is not int or seconds < 0):
        raise MalformedResponse("retryAfterSeconds is no number of seconds")
    if sentence is not None and not (isinstance(sentence, str) and 0 < len(sentence) <= MAX_SENTENCE_CHARACTERS):
        raise MalformedResponse("message is no sentence")
    return EventRefused(code, seconds, sentence, as_headers(_read_limits(entry)))


def _read_limits(entry: dict[str, Any]) -> list[Limit]:
    """Return what is left of each limit, where that is said."""
    return [_read_limit(each) for each in entry.get("limits", ())]


def _read_limit(entry: dict[str, Any]) -> Limit:
    numbers = [take_count(entry, name) for name in ("limit", "remaining", "resetSeconds")]
    return Limit(take_text(entry, "name"), *numbers)


def read_states(document: Any, name: str, ids: Sequence[str]) -> list[str]:
    """Return the state of each event or hold of `ids`, in order. Each result says under `name` which it is of."""
    entries = take_entries(document, "results", len(ids))
    if [take_text(entry, name) for entry in entries] != list(ids):
        raise MalformedResponse(f"a result of another {name}")
    return [take_text(entry, "state") for entry in entries]


def read_held_page(document: Any) -> HeldPage:
    """Return the held events of a page."""
    entries = take_entries(document, "events")
    return HeldPage([_read_event(entry) for entry in entries], take_cursor(document))


def _read_event(entry: Any) -> BillableEvent:
    hold_id = _uuid(entry, "holdId")
    user_id, units = entry.get("userId"), entry.get("units", 1)
    if user_id is not None and not isinstance(user_id, str):
        raise MalformedResponse("userId is no string")
    if type(units) is not int or units < 1:
        raise MalformedResponse("units is no number")
    return BillableEvent(
        hold_id,
        take_text(entry, "eventId"),
        take_text(entry, "clientId"),
        take_text(entry, "eventType"),
        user_id,
        units,
        datetime.fromisoformat(take_moment(entry, "heldAt")),
    )


def take_entries(document: Any, name: str, expected: int | None = None) -> list[Any]:
    """Return the list `name` of a document, of as many as `expected` where that is known."""
    entries = document.get(name) if isinstance(document, dict) else None
    if not isinstance(entries, list) or (expected is not None and len(entries) != expected):
        raise MalformedResponse(f"no {name}, or not one each")
    return entries


def take_count(entry: Any, name: str) -> int:
    """Return the integer `name` of an entry, which is not negative."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not int or value < 0:
        raise MalformedResponse(f"{name} is no count")
    return value


def take_cursor(document: dict[str, Any]) -> str | None:
    """Return where the next page begins, None after the last."""
    cursor = document.get("nextCursor")
    if cursor is not None and not (isinstance(cursor, str) and cursor):
        raise MalformedResponse("nextCursor is no cursor")
    return cursor


def take_text(entry: Any, name: str) -> str:
    """Return the text `name` of an entry, which is not empty."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value:
        raise MalformedResponse(f"{name} is no string")
    return value


def take_moment(entry: Any, name: str) -> str:
    """Return the moment `name` of an entry, as it is written."""
    text = take_text(entry, name)
    if not _is_moment(text):
        raise MalformedResponse(f"{name} is no moment")
    return text


@lru_cache(64)  # a batch has one or a few of them
def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _uuid(entry: Any, name: str) -> str:
    text = take_text(entry, name)
    try:
        return str(UUID(text))
    except ValueError as error:
        raise MalformedResponse(f"{name} is no UUID") from error
