"""Wrong credentials, again and again: their sender is told to slow down, and nobody is locked out by it."""

from catalog_service.clients import authenticate
from catalog_service.clients.authenticate import BURST_ATTEMPTS, FailedAttempts
from tests.catalog_service.catalog import Catalog, MovableClock

LIMITED = {"statusCode": 429, "data": {}, "message": "Too many failed attempts"}


def exhaust(attempts: FailedAttempts, client_id: str = "acme", address: str = "192.0.2.1") -> None:
    for _ in range(BURST_ATTEMPTS):
        assert attempts.note(client_id, address) is None


def test_too_many_wrong_attempts_are_told_when_the_next_one_is_answered_plainly(clock: MovableClock) -> None:
    attempts = FailedAttempts(clock)
    exhaust(attempts)
    assert attempts.note("acme", "192.0.2.1") == 2
    clock.move(seconds=1)
    assert attempts.note("acme", "192.0.2.1") == 1
    clock.move(seconds=1)
    assert attempts.note("acme", "192.0.2.1") is None
    assert attempts.note("acme", "192.0.2.1") == 2


def test_attempts_count_for_their_client_and_their_address_alone(clock: MovableClock) -> None:
    attempts = FailedAttempts(clock)
    exhaust(attempts)
    assert attempts.note("acme", "192.0.2.2") is None
    assert attempts.note("other", "192.0.2.1") is None


def test_a_clock_that_is_set_back_frees_nobody_and_locks_nobody_for_long(clock: MovableClock) -> None:
    attempts = FailedAttempts(clock)
    exhaust(attempts)
    clock.move(seconds=-3600)
    wait = attempts.note("acme", "192.0.2.1")
    assert wait is not None
    assert wait <= 3602


def test_what_is_remembered_is_bounded(clock: MovableClock) -> None:
    attempts = FailedAttempts(clock)
    for number in range(authenticate._REMEMBERED_PAIRS + 100):
        attempts.note(f"client-{number}", "192.0.2.1")
    assert len(attempts._clear_at) == authenticate._REMEMBERED_PAIRS


async def test_the_right_secret_opens_whatever_failed_before_from_the_same_address(catalog: Catalog) -> None:
    secret = await catalog.register("acme")
    answers = [await catalog.request_token("acme", "wrong") for _ in range(BURST_ATTEMPTS + 1)]
    assert [status for status, _ in answers] == [401] * BURST_ATTEMPTS + [429]
    assert answers[-1][1] == LIMITED
    body = {"client_id": "acme", "client_secret": "wrong", "fingerprint": "f"}
    response = await catalog.respond("/generate-client-auth-token", body)
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    assert (await catalog.request_token("acme", secret))[0] == 200
    # And does not wash away what failed.
    assert (await catalog.request_token("acme", "wrong"))[0] == 429


async def test_an_unknown_client_is_limited_like_a_known_one(catalog: Catalog) -> None:
    for _ in range(BURST_ATTEMPTS):
        assert (await catalog.request_token("nobody", "wrong"))[0] == 401
    assert await catalog.request_token("nobody", "wrong") == (429, LIMITED)
