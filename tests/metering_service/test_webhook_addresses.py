"""Webhooks do not reach into private networks, by whatever name or number they are asked to (SSRF)."""

import base64
from datetime import UTC, datetime
from ipaddress import ip_network
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from metering_service.notices.address import AddressGuard
from metering_service.notices.send import Failure, make_test_event, open_session, post
from metering_service.settings import Receiver, WebhookSettings, read_networks, read_receivers
from service_chassis.settings import InvalidSettings
from tests.metering_service.webhook_receiver import LOOPBACK, SECRET, WebhookReceiver

NOW = datetime(2026, 7, 1, tzinfo=UTC)
ALLOWED = AddressGuard([ip_network(each) for each in LOOPBACK])


async def send(url: str, guard: AddressGuard) -> Failure | None:
    async with open_session(guard) as session:
        notice_id = uuid4()
        return await post(session, Receiver("crm", url, (SECRET,)), notice_id, make_test_event(notice_id, NOW), NOW)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
        *("2002:a00:1::", "2002:7f00:1::1", "2001:0:a00:1::", "2001:db8::1"),
    ],
)
def test_an_address_that_is_not_the_internets_is_refused(address: str) -> None:
    assert not AddressGuard().may_reach(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_not(address: str) -> None:
    assert AddressGuard().may_reach(address)


def test_a_network_that_is_allowed_is_reached_and_no_other() -> None:
    guard = AddressGuard([ip_network("10.1.0.0/16"), ip_network("fd12::/32")])
    assert all(map(guard.may_reach, ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1")))
    assert not any(map(guard.may_reach, ("10.2.0.1", "127.0.0.1", "fd13::1")))


@pytest.mark.parametrize("written", ["::ffff:10.1.0.0/112", "64:ff9b::a01:0/112"])
def test_a_network_of_ipv4_is_the_same_however_it_is_written(written: str) -> None:
    guard = AddressGuard(read_networks([written]))
    assert all(map(guard.may_reach, ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3")))
    assert not guard.may_reach("10.2.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "127.1"])
async def test_the_address_that_is_connected_to_is_asked_about_whatever_the_url_calls_it(
    receiver: WebhookReceiver, host: str
) -> None:
    failure = await send(receiver.url.replace("127.0.0.1", host), AddressGuard())
    assert failure is not None
    # Odd spellings may be no name at all to the resolver; nothing is ever connected to.
    assert failure.kind == "address" or host not in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]")
    assert receiver.came == []


async def test_it_is_reached_where_that_is_allowed(receiver: WebhookReceiver) -> None:
    assert await send(receiver.url, ALLOWED) is None
    assert len(receiver.came) == 1


async def test_nobody_there_is_said_in_our_words(receiver: WebhookReceiver, unused_tcp_port: int) -> None:
    failure = await send(f"http://127.0.0.1:{unused_tcp_port}/", ALLOWED)
    assert failure == Failure("connection", "nobody listens there (ConnectionRefusedError)")


async def test_of_a_response_without_end_only_the_status_is_read() -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))

    app = web.Application()
    app.router.add_post("/", talk)
    server = TestServer(app)
    await server.start_server()
    try:
        assert await send(str(server.make_url("/")), ALLOWED) is None
    finally:
        await server.close()


SHORT = "whsec_" + base64.b64encode(b"too short").decode()


@pytest.mark.parametrize(
    ("entry", "networks", "said"),
    [
        (f"CRM https://a.example/ {SECRET}", "", "its name must be"),
        (f"crm ftp://a.example/ {SECRET}", "", "its URL must be a URL"),
        (f"crm https://u:pw@a.example/ {SECRET}", "", "its URL must be a URL without user"),
        (f"crm http://a.example/ {SECRET}", "", "must be https, unless METERING_WEBHOOK_NETWORKS"),
        (f"crm HTTP://a.example/ {SECRET}", "", "must be https, unless METERING_WEBHOOK_NETWORKS"),
        ("crm https://a.example/", "", "there must be a secret"),
        ("crm", "", "its URL must be a URL"),
        (f"crm https://a.example/ {SHORT}", "", "24 to 64 bytes"),
        (f"crm https://a.example/ {SECRET} marked", "", "24 to 64 bytes"),
        (f"crm https://a.example/ {SECRET.removeprefix('whsec_')}", "", "24 to 64 bytes"),
    ],
)
def test_a_receiver_that_cannot_be_used_is_named_by_its_place_and_no_secret_is_told(
    entry: str, networks: str, said: str
) -> None:
    settings = WebhookSettings(postgres_dsn="", webhooks=(f"ok https://b.example/ {SECRET}", entry))
    with pytest.raises(InvalidSettings) as refused:
        read_receivers(settings)
    text = str(refused.value)
    assert text.startswith("METERING_WEBHOOKS: entry 2: ")
    assert said in text
    assert not any(part in text for part in (SECRET[10:], "marked", "pw", "a.example"))


def test_receivers_are_read_with_all_their_secrets_and_names_are_their_own() -> None:
    settings = WebhookSettings(postgres_dsn="", webhooks=(f"crm https://a.example/x {SECRET} {SECRET}",))
    assert read_receivers(settings) == [Receiver("crm", "https://a.example/x", (SECRET, SECRET))]
    twice = WebhookSettings(postgres_dsn="", webhooks=settings.webhooks * 2)
    with pytest.raises(InvalidSettings, match="entry 2: its name must not be there twice"):
        read_receivers(twice)


@pytest.mark.parametrize("network", ["10.1.0.1/16", "all", "10.0.0.0/40"])
def test_a_network_that_is_none_is_refused_by_its_variable(network: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^METERING_WEBHOOK_NETWORKS: "):
        read_networks([network])
