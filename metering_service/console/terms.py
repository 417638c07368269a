"""A policy's terms in words, and as the fields of a form and back. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from metering_service.console.forms import read_number, read_numbers, read_text
from metering_service.policies.policy import ANY_TYPE, BALANCE, MAX_LIMITS, OF_QUOTA, Policy, Quota, Rate

MOST_PRICES = 100
MOST_NOTICES = MAX_LIMITS + 1
"""One for each quota, and one for the balance."""
_BLANK_ROWS = 2
_ROWS: Mapping[str, tuple[int, Sequence[str]]] = {
    "price": (MOST_PRICES, ("type", "credits")),
    "rate": (MAX_LIMITS, ("name", "limit", "period", "burst", "per", "types")),
    "quota": (MAX_LIMITS, ("name", "limit", "counts", "period", "anchor", "per", "types", "overage")),
    "notice": (MOST_NOTICES, ("measure", "thresholds")),
}
"""The kinds of rows of a form: how many there may be, and their fields. A row is there by one of the first two."""
_ALONE = ("credits", "overdraft", "mode", "effective", "policyId", "base")
"""`base` marks the version that was there when the form was opened."""

Row = Mapping[str, str]


class Term(NamedTuple):
    """One of a policy's terms, as it is and as it would be, None where there is none."""

    name: str
    before: str | None
    after: str | None

    @property
    def is_changed(self) -> bool:
        """Whether it would be another one."""
        return self.before != self.after


def describe(policy: Policy) -> dict[str, str]:
    """Return each term's name with what it says."""
    prices = {
        "Price of all other types" if event_type == ANY_TYPE else f"Price of {event_type}": f"{price:,}"
        for event_type, price in sorted(policy.prices.items(), key=lambda each: (each[0] == ANY_TYPE, each[0]))
    }
    return {
        **{f"Rate “{rate.name}”": _describe_rate(rate) for rate in policy.rates},
        **{f"Quota “{quota.name}”": _describe_quota(quota) for quota in policy.quotas},
        **prices,
        **{_name_notices(each.of): f"at {', '.join(f'{at:,}' for at in each.at)}" for each in policy.notices},
        "Credits": f"prepaid, overdraft to −{policy.overdraft:,}" if policy.overdraft else policy.credits,
        "Mode": policy.mode,
    }


def compare(before: Policy | None, after: Policy) -> list[Term]:
    """Return the terms of both, in the order of `after`; those that are gone come last."""
    was, will = describe(before) if before else {}, describe(after)
    return [
        Term(name, was.get(name), will.get(name)) for name in (*will, *(name for name in was if name not in will))
    ]


def _name_notices(of: str) -> str:
    return "Notices of the balance" if of == BALANCE else f"Notices of quota “{of.removeprefix(OF_QUOTA)}”"


def _describe_rate(rate: Rate) -> str:
    return f"{rate.limit:,} per {rate.period_seconds:,} s, {rate.burst:,} at once, per {rate.per}{_of(rate)}"


def _describe_quota(quota: Quota) -> str:
    above = {0: "", None: ", any overage"}.get(quota.overage, f", {quota.overage or 0:,} overage")
    start = "" if quota.anchor == "calendar" else " from its assignment"
    return f"{quota.limit:,} {quota.counts} a {quota.period}{start}, per {quota.per}{above}{_of(quota)}"


def _of(limit: Rate | Quota) -> str:
    return "" if limit.event_types == (ANY_TYPE,) else f", of {', '.join(limit.event_types)}"


def fill_form(policy: Policy | None) -> dict[str, str]:
    """Return the form's fields as a policy's terms fill them; without one, as something to begin with."""
    if policy is None:
        return {"price-0-type": ANY_TYPE, "price-0-credits": "1", "credits": "prepaid", "mode": "enforce"}
    fields = {"credits": policy.credits, "overdraft": str(policy.overdraft or ""), "mode": policy.mode}
    for number, (event_type, price) in enumerate(sorted(policy.prices.items())):
        fields |= _put("price", number, (event_type, price))
    for number, rate in enumerate(policy.rates):
        values = (rate.name, rate.limit, rate.period_seconds, rate.burst, rate.per, ", ".join(rate.event_types))
        fields |= _put("rate", number, values)
    for number, quota in enumerate(policy.quotas):
        overage = "unlimited" if quota.overage is None else quota.overage
        terms = (quota.name, quota.limit, quota.counts, quota.period, quota.anchor, quota.per)
        fields |= _put("quota", number, (*terms, ", ".join(quota.event_types), overage))
    for number, each in enumerate(policy.notices):
        fields |= _put("notice", number, (each.of, " ".join(map(str, each.at))))
    return fields


def _put(kind: str, number: int, values: Iterable[object]) -> dict[str, str]:
    _, names = _ROWS[kind]
    return {f"{kind}-{number}-{name}": str(value) for name, value in zip(names, values, strict=True)}


def read_fields(form: Mapping[str, Any]) -> dict[str, str]:
    """Return those fields of a form that are a policy's, rows that are empty left out and the others moved up."""
    fields = {name: read_text(form, name) for name in _ALONE if read_text(form, name)}
    for kind, (most, names) in _ROWS.items():
        rows = [{name: read_text(form, f"{kind}-{number}-{name}") for name in names} for number in range(most + 1)]
        kept = [row for row in rows if row[names[0]] or row[names[1]]]
        for number, row in enumerate(kept):
            fields |= _put(kind, number, row.values())
    return fields


def list_rows(fields: Mapping[str, str], kind: str) -> list[dict[str, str]]:
    """Return the rows of a kind that a form shows: those that are filled, and some to fill."""
    most, names = _ROWS[kind]
    return [*_list_filled(fields, kind), *[dict.fromkeys(names, "")] * _BLANK_ROWS][:most]


def _list_filled(fields: Mapping[str, str], kind: str) -> list[dict[str, str]]:
    _, names = _ROWS[kind]
    rows: list[dict[str, str]] = []
    while any(fields.get(f"{kind}-{len(rows)}-{name}") for name in names[:2]):
        rows.append({name: fields.get(f"{kind}-{len(rows)}-{name}", "") for name in names})
    return rows


def make_document(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields as the document that PolicySchema reads; what is no number stays as it was written."""
    credits = fields.get("credits", "")
    return {
        "rates": [
            {
                "name": row["name"],
                "limit": read_number(row["limit"]),
                "periodSeconds": read_number(row["period"]),
                "burst": read_number(row["burst"]),
                "per": row["per"] or "client",
                "eventTypes": _read_types(row["types"]),
            }
            for row in _list_filled(fields, "rate")
        ],
        "quotas": [
            {
                "name": row["name"],
                "limit": read_number(row["limit"]),
                "counts": row["counts"] or "events",
                "period": row["period"] or "month",
                "anchor": row["anchor"] or "calendar",
                "per": row["per"] or "client",
                "eventTypes": _read_types(row["types"]),
                "overage": read_number(row["overage"] or "0"),
            }
            for row in _list_filled(fields, "quota")
        ],
        "prices": {row["type"]: read_number(row["credits"]) for row in _list_filled(fields, "price")},
        "credits": {"overdraft": read_number(fields.get("overdraft", ""))} if credits == "overdraft" else credits,
        "mode": fields.get("mode", ""),
        "notices": [
            {"of": row["measure"], "at": read_numbers(row["thresholds"])} for row in _list_filled(fields, "notice")
        ],
    }


def place_errors(errors: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """Return what the schema says of the document by the form's fields."""
    types = [row["type"] for row in _list_filled(fields, "price")]
    renamed = {"periodSeconds": "period", "eventTypes": "types", "of": "measure", "at": "thresholds"}
    placed: dict[str, str] = {}
    for path, words in errors.items():
        kind, _, rest = path.partition(".")
        number, _, name = rest.partition(".")
        name = name.partition(".")[0]
        if kind in ("rates", "quotas", "notices") and number.isdecimal():
            placed[f"{kind[:-1]}-{number}-{renamed.get(name, name)}"] = words
        elif kind == "prices" and rest in types:
            is_name = words.startswith("Is no name")
            placed[f"price-{types.index(rest)}-{'type' if is_name else 'credits'}"] = words
        elif path == "credits.overdraft":
            placed["overdraft"] = words
        else:
            placed[{"prices": "price-0-type", "effectiveAt": "effective"}.get(kind, kind)] = words
    return placed


def find_repeated_prices(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with prices of a type that has one already, by the form's fields."""
    types = [row["type"] for row in _list_filled(fields, "price")]
    return {
        f"price-{number}-type": "Must not be named twice."
        for number, event_type in enumerate(types)
        if event_type in types[:number]
    }


def _read_types(text: str) -> list[str]:
    return [each for each in (part.strip() for part in text.split(",")) if each] or [ANY_TYPE]
