"""An invoice from the ledger: what was charged since the last invoice, by month and event type.

    python docs/examples/invoice.py acme 1041

reads METERING_URL and METERING_KEY (scope `admin`). The number is the `lastEntryId` of the last invoice, 0 for the
first. Lines of a client become visible in the order of their numbers, so a line is in one invoice, and in one only,
however late it was charged.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

CENTS_PER_1000_CREDITS = 100
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch_ledger(client_id: str, after: int) -> Iterable[dict[str, Any]]:
    """Yield a client's ledger from after the line `after` on, a line at a time."""
    path = f"/internal/clients/{quote(client_id, safe='')}/ledger/export?format=ndjson&after={after}"
    headers = {"Authorization": f"Bearer {os.environ['METERING_KEY']}"}
    request = urllib.request.Request(os.environ["METERING_URL"] + path, headers=headers)  # noqa: S310
    with NO_PROXY.open(request) as response:  # an export that breaks off raises, and makes no invoice
        yield from map(json.loads, response)


def make_invoice(client_id: str, entries: Iterable[dict[str, Any]], after: int) -> dict[str, Any]:
    """Return the invoice of these lines of a ledger: integers only, cents rounded once, at the end."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    last = after
    for entry in entries:
        last = entry["entryId"]
        if entry["kind"] in ("spend", "refund"):
            # A charge counts on the day of its fact, a refund when it was given.
            month = (entry.get("day") or entry["at"])[:7]
            line = sums.setdefault((month, entry["kind"], entry.get("eventType") or ""), [0, 0])
            line[0] += entry.get("units") or 0
            line[1] -= entry["credits"]
    lines = [
        {"month": month, "kind": kind, "eventType": event_type, "units": units, "credits": credits}
        for (month, kind, event_type), (units, credits) in sorted(sums.items())
    ]
    credits = sum(credits for _, credits in sums.values())
    cents = (credits * CENTS_PER_1000_CREDITS + 500) // 1000
    return {"clientId": client_id, "lines": lines, "credits": credits, "cents": cents, "lastEntryId": last}


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        raise SystemExit("usage: python docs/examples/invoice.py CLIENT LAST_ENTRY_ID")
    for variable in ("METERING_URL", "METERING_KEY"):
        if not os.environ.get(variable):
            raise SystemExit(f"{variable} must be set")
    client, begin = sys.argv[1], int(sys.argv[2])
    try:
        print(json.dumps(make_invoice(client, fetch_ledger(client, begin), begin), indent=2))
    except urllib.error.HTTPError as error:
        raise SystemExit(f"metering responded {error.code}: {error.read().decode()}") from None
    except urllib.error.URLError as error:
        raise SystemExit(f"METERING_URL: metering cannot be reached ({error.reason})") from None
