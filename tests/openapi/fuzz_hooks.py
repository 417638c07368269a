"""What schemathesis has to be told: how to authenticate, and rules between values that JSON Schema cannot say.

Loaded by schemathesis itself, which is given the stack's file as STACK_JSON.
"""

import itertools
import json
import os
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import requests
import schemathesis
from hypothesis import strategies as st

_STACK = json.loads(Path(os.environ["STACK_JSON"]).read_text())
CLIENT_ID = "demo-unlimited"
TOKEN_SECONDS = 300.0
_OF_SERVICES = ("/internal/events/authorize", "/internal/events/settle", "/internal/events/release")

schemathesis.openapi.format(
    "date-time",
    st.datetimes(min_value=datetime(1901, 1, 1), max_value=datetime(9998, 1, 1)).map(
        lambda moment: moment.isoformat() + "Z"
    ),
)
schemathesis.openapi.format("uri", st.from_regex(r"https?://[a-z]{1,20}\.example/[a-z0-9]{0,20}", fullmatch=True))
schemathesis.openapi.format("email", st.from_regex(r"[a-z0-9]{1,20}@[a-z]{1,20}\.example", fullmatch=True))


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """An access token for the public services, a service key of the right scope for the internal one."""

    def __init__(self) -> None:
        self._token = ""
        self._fetched_at = float("-inf")

    def get(self, case: schemathesis.Case[Any], _: schemathesis.AuthContext) -> str:
        path = case.operation.path
        if path.startswith("/internal/"):
            key: str = _STACK["service_keys"]["events" if path in _OF_SERVICES else "admin"]
            return key
        if path.startswith("/admin/"):
            admin_key: str = _STACK["admin_keys"]["catalog"]
            return admin_key
        if time.monotonic() - self._fetched_at > TOKEN_SECONDS:
            self._token = _fetch_token()
            self._fetched_at = time.monotonic()
        return self._token

    def set(self, case: schemathesis.Case[Any], data: str, _: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


def _fetch_token() -> str:
    body = {"client_id": CLIENT_ID, "client_secret": f"{CLIENT_ID}-secret", "fingerprint": "fuzz"}
    answer = requests.post(f"{_STACK['catalog']['url']}/generate-client-auth-token", json=body, timeout=10)
    token: str = answer.json()["data"]["access_token"]
    return token


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out what is right by the schema and wrong by a rule between values."""
    body = case.body
    if not isinstance(body, dict):
        return True
    if case.meta is not None and case.meta.generation.mode.is_positive and _holds_strange_number(body):
        return False
    user = body.get("user")
    if isinstance(user, dict) and "uid" in user and user["uid"] == body.get("client_id"):
        return False
    pairs = (
        ("associated_documents", "document_id"),
        ("associated_supplemental_benefits", "supplemental_benefit_id"),
        ("events", "holdId"),
        ("rates", "name"),
        ("quotas", "name"),
    )
    return not any(_repeats(body.get(name), key) for name, key in pairs)


def _holds_strange_number(value: Any) -> bool:
    """Tell whether `value` holds what JSON Schema calls an integer and strict reading does not: 1.0 or 2**64."""
    if isinstance(value, dict | list):
        return any(map(_holds_strange_number, value.values() if isinstance(value, dict) else value))
    return (isinstance(value, float) and value.is_integer()) or (isinstance(value, int) and abs(value) >= 2**63)


def _repeats(items: Any, key: str) -> bool:
    if not isinstance(items, list):
        return False
    ids = [str(item.get(key)) for item in items if isinstance(item, dict)]
    return len(set(ids)) < len(ids)


def make_printable(text: str) -> str:
    """Return an id, or a note, as metering takes it: no pattern of JSON Schema says what is printable."""
    return "".join(filter(str.isprintable, text)).replace("..", "x").removeprefix(".") or "x"


def name_printably(policy: dict[str, Any]) -> None:
    """Put another name, of its own, for each of a policy that is not printable."""
    others = (f"name-{number}" for number in itertools.count(1))
    prices = policy.get("prices")
    if isinstance(prices, dict):
        policy["prices"] = {name if name.isprintable() else next(others): price for name, price in prices.items()}
    for limit in [*(policy.get("rates") or ()), *(policy.get("quotas") or ())]:
        if not limit["name"].isprintable():
            limit["name"] = next(others)
        if types := limit.get("eventTypes"):
            limit["eventTypes"] = [name if name.isprintable() else next(others) for name in types]


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: Any) -> None:
    """Make an opaque value one that was not used before, or leave it out, where the request is meant to be right."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "cursor" in case.query:
        # Only a list itself can make one. What becomes of others is for the requests that are meant to be wrong.
        del case.query["cursor"]
    # Days and moments that must follow each other, or must not be over yet.
    if case.operation.path.endswith(("/usage", "/usage/export", "/shadow-report")):
        for name in ("from", "to"):
            case.query.pop(name, None)
    if isinstance(case.body, dict):
        case.body.pop("notices", None)  # they are of quotas that the body has
        for field in ("effectiveAt", "expiresAt", "expires_at", "endsAt", "from", "until", "then"):
            case.body.pop(field, None)
        if case.method == "PUT" and "prices" in case.body:
            name_printably(case.body)
        called = case.body.get("name")
        if case.operation.path.startswith("/admin/") and isinstance(called, str):
            # Printable, and not all blanks: no pattern of JSON Schema says so.
            case.body["name"] = "".join(filter(str.isprintable, called)).strip() or "x"
        for field in ("grantId", "refundId", "eventId", "adjustmentId", "source", "note", "reason"):
            if isinstance(given := case.body.get(field), str):
                case.body[field] = make_printable(given)
        if case.body.get("expires") == "never":
            case.body.pop("rollover", None)
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = secrets.token_hex(16)
    for place in ("clientId", "policyId", "eventId", "grantId", "recurringId"):
        value = case.path_parameters.get(place)
        if isinstance(value, str):
            case.path_parameters[place] = quote(make_printable(unquote(value)), safe="")
