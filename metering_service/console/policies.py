"""Policies with their versions, and a form whose effect is shown before it has any."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from metering_service.api.policy_schemas import PutPolicySchema
from metering_service.api.responses import parse_id, read_identifier
from metering_service.console.forms import load, read_day
from metering_service.console.links import link
from metering_service.console.pages import SESSION, go_to, read_form, show, use_cases
from metering_service.console.terms import (
    compare,
    describe,
    fill_form,
    find_repeated_prices,
    list_rows,
    make_document,
    place_errors,
    read_fields,
)
from metering_service.errors import PolicyChanged, PolicyNotFound
from metering_service.policies.administer import fetch_history, list_current, put_version
from metering_service.policies.policy import WRONG_IDENTIFIER, Policy, PolicyVersion, is_identifier
from metering_service.policies.schema import make_policy
from metering_service.replay.preview import MOST_CLIENTS, MOST_LINES, REPLAYED_DAYS, preview_policy
from service_chassis.errors import Conflict, InvalidRequest
from service_chassis.http.cursor import decode_cursor, encode_cursor

PAGE_LINES = 25
_SHOWN_VERSIONS = 50
_SHOWN_CLIENTS = 20
_POLICY = PutPolicySchema()


async def list_policies(request: web.Request) -> web.Response:
    """GET /console/policies."""
    cursor = request.query.get("cursor")
    (after,) = decode_cursor(cursor, parse_id) if cursor else ("",)
    versions, last = await list_current(use_cases(request).pool, after, PAGE_LINES)
    return await show(
        request,
        "policies.html",
        section="policies",
        versions=versions,
        is_first=not cursor,
        next_cursor=encode_cursor(last.policy_id) if last else None,
    )


async def show_policy(request: web.Request) -> web.Response:
    """GET /console/policies/of/{policyId}."""
    policy_id = read_identifier(request, "policyId")
    present, versions = await fetch_history(use_cases(request).pool, policy_id)
    earlier: list[PolicyVersion | None] = [*versions[1:], None]
    history = [
        (version, [term for term in compare(before.policy if before else None, version.policy) if term.is_changed])
        for version, before in zip(versions[:_SHOWN_VERSIONS], earlier, strict=False)
    ]
    return await show(
        request,
        "policy.html",
        section="policies",
        policy_id=policy_id,
        present=present,
        terms=describe(present.policy),
        history=history,
        hidden=max(0, len(versions) - _SHOWN_VERSIONS),
    )


async def show_new(request: web.Request) -> web.Response:
    """GET /console/policies/new."""
    return await _ask(request, None, fill_form(None))


async def show_edit(request: web.Request) -> web.Response:
    """GET /console/policies/of/{policyId}/edit."""
    policy_id = read_identifier(request, "policyId")
    present, versions = await fetch_history(use_cases(request).pool, policy_id)
    fields = fill_form(present.policy)
    terms, errors = _load(read_fields(fields))
    if errors or make_policy(terms) != present.policy:
        # Hundreds of prices, a comma in an event type: sending the form back would change what nobody touched.
        raise Conflict("This policy has terms that the form cannot hold; change it by the API or the command line")
    return await _ask(request, policy_id, fields | {"base": versions[0].mark})


async def preview(request: web.Request) -> web.Response:
    """POST /console/policies/of/{policyId}/edit, or /console/policies/new.

    Shows what would change and what it would have made of the last days; acts where `step` says so.
    """
    form = await read_form(request)
    fields = read_fields(form)
    known_id = read_identifier(request, "policyId") if "policyId" in request.match_info else None
    policy_id = known_id or fields.get("policyId", "")
    terms, errors = _load(fields)
    if not is_identifier(policy_id):
        errors["policyId"] = WRONG_IDENTIFIER
    if errors or form.get("step") == "change":
        return await _ask(request, known_id, fields, errors)
    draft = make_policy(terms)
    is_asked = form.get("step") != "do"
    try:
        version, warnings = await put_version(
            *(use_cases(request).pool, policy_id, draft),
            effective_at=terms["effective_at"],
            base=fields.get("base", ""),
            dry_run=is_asked,
            actor=request[SESSION].actor,
        )
    except InvalidRequest as error:
        placed = place_errors({each.field: each.message for each in error.details}, fields)
        return await _ask(request, known_id, fields, placed)
    except PolicyChanged:
        return await _say_changed(request, known_id, fields)
    if is_asked:
        return await _show_preview(request, known_id, policy_id, draft, fields, terms["effective_at"], warnings)
    when = f"from {version.effective_at:%Y-%m-%d %H:%M} UTC on" if terms["effective_at"] else "now"
    return go_to(link("policies", "of", policy_id), f"Version {version.version} of {policy_id} is in force {when}.")


async def _show_preview(
    request: web.Request,
    known_id: str | None,
    policy_id: str,
    draft: Policy,
    fields: dict[str, str],
    effective_at: datetime | None,
    warnings: Sequence[str],
) -> web.Response:
    present, newest = await _find_versions(request, policy_id)
    if newest is not None and newest.mark != fields.get("base"):
        return await _say_changed(request, known_id, fields)  # also where the draft itself would change nothing
    cases = use_cases(request)
    shown = await preview_policy(cases.pool, cases.default_policy, policy_id, draft)
    return await show(
        request,
        "policy_preview.html",
        section="policies",
        policy_id=policy_id,
        is_new=known_id is None,
        present=present,
        draft=draft,
        fields=fields,
        effective_at=effective_at,
        terms=compare(present.policy if present else None, draft),
        warnings=warnings,
        preview=shown,
        clients=shown.clients[:_SHOWN_CLIENTS],
        days=REPLAYED_DAYS,
        most_clients=MOST_CLIENTS,
        most_lines=MOST_LINES,
    )


def _load(fields: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    document = make_document(fields)
    if "effective" in fields:
        document["effectiveAt"] = read_day(fields["effective"])
    terms, errors = load(_POLICY, document)
    return terms, {**place_errors(errors, fields), **find_repeated_prices(fields)}


async def _find_versions(request: web.Request, policy_id: str) -> tuple[PolicyVersion | None, PolicyVersion | None]:
    """Return the present version and the newest, which may be booked; None and None for no such policy."""
    try:
        present, versions = await fetch_history(use_cases(request).pool, policy_id)
    except PolicyNotFound:
        return None, None
    return present, versions[0]


async def _say_changed(request: web.Request, known_id: str | None, fields: dict[str, str]) -> web.Response:
    """Ask again, about a change of the newest version: what another one did is not undone unseen."""
    if known_id is None:
        return await _ask(request, None, fields, {"policyId": "There is a policy of this id already; edit that one."})
    _, newest = await _find_versions(request, known_id)
    what = f"version {newest.version} was made" if newest else "its versions are gone"
    words = f"Changed meanwhile: {what}. The next preview says what this draft would change of it."
    return await _ask(request, known_id, fields | {"base": newest.mark if newest else ""}, {"": words})


async def _ask(
    request: web.Request, policy_id: str | None, fields: dict[str, str], errors: dict[str, str] | None = None
) -> web.Response:
    return await show(
        request,
        "policy_edit.html",
        400 if errors else 200,
        section="policies",
        policy_id=policy_id,
        fields=fields,
        prices=list_rows(fields, "price"),
        rates=list_rows(fields, "rate"),
        quotas=list_rows(fields, "quota"),
        notices=list_rows(fields, "notice"),
        errors=errors or {},
    )
