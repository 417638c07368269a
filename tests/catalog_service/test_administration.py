"""What operators do over HTTP: clients, what they may do, and the trail of it."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest

from catalog_service.app import create_app
from catalog_service.settings import CatalogSettings
from service_chassis.application import ADMIN_SERVER
from service_chassis.settings import InvalidSettings
from tests.catalog_service.catalog import Catalog
from tests.catalog_service.conftest import StartCatalog

KEYS = {"ops": "the-key-of-ops", "ops-next": "the-next-key-of-ops", "billing": "the-key-of-billing"}


class Administration:
    """The admin listener of a catalog, as an operator speaks to it."""

    def __init__(self, catalog: Catalog, http: aiohttp.ClientSession) -> None:
        self.catalog = catalog
        self._http = http

    async def call(self, method: str, path: str, body: Any = None, *, key: str | None = "ops") -> tuple[int, Any]:
        """Return status and `data`, or the message of what is no success."""
        headers = {"Authorization": f"Bearer {KEYS.get(key, key)}"} if key is not None else {}
        response = await self._http.request(method, f"/admin{path}", json=body, headers=headers)
        answer = await response.json()
        assert answer["statusCode"] == response.status
        return response.status, answer["data"] if response.status == 200 else answer["message"]

    async def done(self, method: str, path: str, body: Any = None, *, key: str = "ops") -> Any:
        status, data = await self.call(method, path, body, key=key)
        assert status == 200, data
        return data


@pytest.fixture
async def admin(start_catalog: StartCatalog) -> AsyncIterator[Administration]:
    named = {"ops": "ops", "ops-next": "ops", "billing": "billing"}
    keys = tuple(f"{named[name]}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in KEYS.items())
    catalog = await start_catalog(admin_keys=keys)
    async with open_session(catalog) as http:
        yield Administration(catalog, http)


@asynccontextmanager
async def open_session(catalog: Catalog) -> AsyncIterator[aiohttp.ClientSession]:
    port = await catalog.app[ADMIN_SERVER].listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        yield http


async def test_a_client_is_registered_and_gets_tokens_for_the_secret_that_is_shown_once(
    admin: Administration,
) -> None:
    data = await admin.done("POST", "/clients", {"client_id": "acme", "name": "Acme Ltd"})
    assert data["client"] == await admin.done("GET", "/clients/acme")
    assert (await admin.catalog.request_token("acme", data["secret"]["client_secret"]))[0] == 200
    for path in ("/clients", "/clients/acme", "/clients/acme/secrets", "/audit"):
        assert data["secret"]["client_secret"] not in str(await admin.done("GET", path))
    assert await admin.call("POST", "/clients", {"client_id": "acme", "name": "x"}) == (
        409,
        "Client acme exists already",
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"client_id": "a b", "name": "x"}, "client_id: Must be 1 to 64 letters"),
    ({"client_id": "acme\n", "name": "x"}, "client_id: Must be 1 to 64 letters"),
    ({"client_id": "b", "name": " "}, "name: Must be 1 to 200 printable characters."),
    ({"client_id": "b", "name": "a\u202eb"}, "name: Must be 1 to 200 printable characters."),
    ({"client_id": "b"}, "name: Must be there."),
    ({"client_id": "b", "name": "x", "may_read_all_clients": "yes"}, "may_read_all_clients: Must be true or false."),
]


async def test_what_can_be_no_client_is_refused_by_field_and_registers_nobody(admin: Administration) -> None:
    for body, message in WRONG:
        status, said = await admin.call("POST", "/clients", body)
        assert (status, said[: len(message)]) == (400, message)
    assert await admin.done("GET", "/clients") == {"clients": [], "next_cursor": None}


async def test_a_disabled_client_gets_no_token_until_it_is_enabled_again(admin: Administration) -> None:
    secret = await admin.catalog.register("acme")
    token = await admin.catalog.token("acme", secret)
    disabled = await admin.done("PATCH", "/clients/acme", {"disabled": True})
    assert disabled["disabled_at"] is not None
    assert (await admin.catalog.request_token("acme", secret))[0] == 401
    assert (await admin.catalog.call("/get-plans", {}, token))[0] == 403
    admin.catalog.clock.move(hours=1)
    assert await admin.done("PATCH", "/clients/acme", {"disabled": True}) == disabled
    assert (await admin.done("PATCH", "/clients/acme", {"disabled": False}))["disabled_at"] is None
    assert (await admin.catalog.request_token("acme", secret))[0] == 200


async def test_a_permission_is_in_the_next_token_and_gone_from_the_one_after_it_was_taken(
    admin: Administration,
) -> None:
    secret = await admin.catalog.register("acme")
    for may in (True, False):
        changed = await admin.done("PATCH", "/clients/acme", {"may_read_all_clients": may, "name": "Acme GmbH"})
        assert (changed["may_read_all_clients"], changed["name"]) == (may, "Acme GmbH")
        token = await admin.catalog.token("acme", secret)
        scope = jwt.decode(token, options={"verify_signature": False})["scope"]
        assert ("plan_plays:all_clients" in scope.split()) == may
    assert await admin.call("PATCH", "/clients/acme", {}) == (400, "body: Give at least one field to change.")


async def test_clients_are_listed_by_id_a_page_at_a_time(admin: Administration) -> None:
    for client_id in ("c", "a", "b"):
        await admin.catalog.register(client_id)
    first = await admin.done("GET", "/clients?limit=2")
    assert [client["client_id"] for client in first["clients"]] == ["a", "b"]
    rest = await admin.done("GET", f"/clients?limit=2&cursor={first['next_cursor']}")
    assert ([client["client_id"] for client in rest["clients"]], rest["next_cursor"]) == (["c"], None)


async def test_an_unknown_client_is_404_with_the_known_id_that_is_most_alike(admin: Administration) -> None:
    await admin.catalog.register("acme")
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/clients/{}", None),
        ("PATCH", "/clients/{}", {"disabled": True}),
        ("GET", "/clients/{}/secrets", None),
        ("POST", "/clients/{}/secrets", {}),
        ("DELETE", f"/clients/{{}}/secrets/{'0' * 16}", None),
    ]
    for method, path, body in calls:
        answer = await admin.call(method, path.format("acne"), body)
        assert answer == (404, "Client acne is not known; did you mean acme?")
        assert await admin.call(method, path.format("z"), body) == (404, "Client z is not known")


async def test_the_trail_names_whose_key_it_was_and_what_was_changed_newest_first(admin: Administration) -> None:
    await admin.done("POST", "/clients", {"client_id": "acme", "name": "Acme"}, key="billing")
    await admin.done("POST", "/clients", {"client_id": "other", "name": "Other"})
    await admin.done("PATCH", "/clients/acme", {"disabled": True}, key="ops-next")
    await admin.catalog.operator.change("acme", disabled=False, actor="command line")
    entries = (await admin.done("GET", "/audit?client_id=acme"))["entries"]
    assert [(line["actor"], line["action"]) for line in entries] == [
        ("command line", "change_client"),
        ("ops", "change_client"),
        ("billing", "create_client"),
    ]
    assert entries[1]["detail"] == {"disabled": True}
    assert entries[1]["at"] == admin.catalog.clock().isoformat().replace("+00:00", "Z")
    paged, cursor = [], ""
    while cursor is not None:
        page = await admin.done("GET", f"/audit?limit=1{cursor and f'&cursor={cursor}'}")
        paged += page["entries"]
        cursor = page["next_cursor"]
    assert [line["target"] for line in paged] == ["acme", "acme", "other", "acme"]
    assert [line for line in paged if line["target"] == "acme"] == entries


async def test_the_trail_can_be_added_to_and_not_changed_by_the_service(admin: Administration) -> None:
    grants = await admin.catalog.pool.fetch(
        "SELECT privilege_type FROM information_schema.role_table_grants "
        "WHERE table_name = 'admin_audit' AND grantee = 'catalog_service'"
    )
    assert {grant["privilege_type"] for grant in grants} == {"SELECT", "INSERT"}


async def test_a_change_that_cannot_be_noted_is_not_made(admin: Administration) -> None:
    await admin.catalog.register("acme")
    await admin.catalog.pool.execute("ALTER TABLE admin_audit ADD CONSTRAINT none CHECK (actor <> 'ops') NOT VALID")
    status, _ = await admin.call("PATCH", "/clients/acme", {"disabled": True})
    assert status == 500
    assert (await admin.done("GET", "/clients/acme"))["disabled_at"] is None


async def test_where_no_key_is_set_nobody_is_let_in(catalog: Catalog) -> None:
    refused: list[dict[str, str]] = [{}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {KEYS['ops']}"}]
    async with open_session(catalog) as http:
        for headers in refused:
            response = await http.get("/admin/clients", headers=headers)
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_nothing_of_administration_is_on_the_public_port(admin: Administration) -> None:
    for path in ("/admin/clients", "/admin/audit"):
        response = await admin.catalog.http.get(path, headers={"Authorization": f"Bearer {KEYS['ops']}"})
        assert response.status == 404


@pytest.mark.parametrize("entry", ["ops", "ops:12", f"admin:ops:{'0' * 64}", f"Ops:{'0' * 64}", f":{'0' * 64}"])
def test_an_admin_key_that_cannot_be_meant_is_refused_by_its_variable(entry: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^CATALOG_ADMIN_KEYS: each entry must be name:SHA256, ") as refused:
        create_app(CatalogSettings(postgres_dsn="postgresql://nowhere/none", admin_keys=(entry,)))
    assert entry not in str(refused.value)
