"""Metering's list of charges, and one event's state, for the audit that compares them with the facts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from metering_client.errors import ChargesUnreadable
from service_chassis.http.outgoing import describe_fault, show_address

PAGE_CHARGES = 1000
REQUEST_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as metering lists it; `at` is when it was written, `units` are None where metering is an older one."""

    event_id: str
    hold_id: str
    client_id: str
    event_type: str
    units: int | None
    at: datetime
    late: bool


class ChargesClient:
    """Reads metering's admin API. `url` is its root, `key` one of scope `admin`."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    async def stream_charges(self) -> AsyncIterator[Charge]:
        """Yield every charge, sorted by event id, a page at a time. Raises ChargesUnreadable."""
        query = {"limit": str(PAGE_CHARGES)}
        while True:
            page = await self._get("/internal/charges", query)
            for entry in page["charges"]:
                at = datetime.fromisoformat(entry["at"])
                ids = (entry["eventId"], entry["holdId"], entry["clientId"], entry["eventType"])
                yield Charge(*ids, entry.get("units"), at, entry["late"])
            if page["nextCursor"] is None:
                return
            query = {**query, "cursor": page["nextCursor"]}

    async def fetch_settled_at(self, client_id: str, event_id: str) -> datetime | None:
        """Return when an event was settled; None when it is not. Raises ChargesUnreadable."""
        path = f"/internal/events/{quote(event_id, safe='')}"
        event = await self._get(path, {"clientId": client_id}, absent={"state": "none"})
        return datetime.fromisoformat(event["receipt"]["settledAt"]) if event["state"] == "settled" else None

    async def _get(self, path: str, query: dict[str, str], absent: dict[str, Any] | None = None) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        try:
            async with self._session.get(
                self._url + path, params=query, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status == 404 and absent is not None:
                    return absent
                if response.status != 200:
                    raise ChargesUnreadable(f"metering responded {response.status} to {path}")
                document: dict[str, Any] = await response.json()
                return document
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ChargesUnreadable(
                f"metering at {show_address(self._url)} cannot be read: {describe_fault(error)}"
            ) from error
