"""Signing keys: one beginning, and rotations in which no token is refused."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from catalog_service.components import COMPONENTS
from catalog_service.tokens.key_ring import KeyRing
from catalog_service.tokens.rotate_key import RotateKeys
from catalog_service.tokens.signing_key import (
    JWKS_MAX_AGE,
    REREAD_AFTER,
    SigningKey,
    choose_signer,
    describe_state,
    list_published,
    make_key,
    plan_rotation,
)
from tests.catalog_service.catalog import Catalog, MovableClock
from tests.catalog_service.conftest import StartCatalog

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(minutes=15)
STEP = timedelta(seconds=15)


def rotate(keys: list[SigningKey], now: datetime) -> list[SigningKey]:
    new, published_until = plan_rotation(now, LIFETIME)
    return [
        SigningKey(key.kid, key.private_pem, key.created_at, key.signs_from, key.published_until or published_until)
        for key in keys
    ] + [new]


def test_no_token_of_a_rotation_meets_a_verifier_that_lacks_its_key() -> None:
    """Whatever the signing process last read, whatever the publishing one did, however old the verifier's copy is."""
    before = [make_key(NOW, signs_from=NOW)]
    rotated_at = NOW + timedelta(hours=1)
    after = rotate(before, rotated_at)

    def read(moment: datetime) -> list[SigningKey]:
        return after if moment >= rotated_at else before

    end = rotated_at + JWKS_MAX_AGE + 3 * LIFETIME
    signed_at = rotated_at - LIFETIME
    signers: set[str] = set()
    while signed_at < end:
        for view_age in (timedelta(0), REREAD_AFTER):
            kid = choose_signer(read(signed_at - view_age), signed_at).kid
            signers.add(kid)
            for used_after in (timedelta(0), LIFETIME / 2, LIFETIME - STEP):
                for copy_age in (timedelta(0), JWKS_MAX_AGE / 2, JWKS_MAX_AGE):
                    copied_at = signed_at + used_after - copy_age
                    for publisher_age in (timedelta(0), REREAD_AFTER):
                        published = list_published(read(copied_at - publisher_age), copied_at)
                        assert kid in {key.kid for key in published}
        signed_at += STEP
    assert len(signers) == 2


def test_after_a_rotation_only_the_new_key_is_left() -> None:
    old, new = rotate([make_key(NOW, signs_from=NOW)], NOW)
    states = [
        [describe_state(key, [old, new], NOW + age) for key in (old, new)]
        for age in (timedelta(0), timedelta(minutes=10), timedelta(hours=1))
    ]
    assert states == [["signs", "next"], ["verifies", "signs"], ["retired", "signs"]]


def test_rotating_twice_in_a_row_retires_keys_in_their_order() -> None:
    keys = rotate(rotate([make_key(NOW, signs_from=NOW)], NOW), NOW + timedelta(minutes=1))
    assert len(list_published(keys, NOW + timedelta(minutes=2))) == 3
    assert [choose_signer(keys, NOW + timedelta(minutes=age)).kid for age in (2, 6.5, 8)] == [key.kid for key in keys]


def test_the_first_key_signs_for_a_process_whose_clock_is_behind() -> None:
    key = make_key(NOW, signs_from=NOW)
    assert choose_signer([key], NOW - timedelta(seconds=10)) == key
    with pytest.raises(LookupError):
        choose_signer([], NOW)


async def test_processes_that_start_together_make_one_key(pool: asyncpg.Pool) -> None:
    seen = await asyncio.gather(*(RotateKeys(pool, lambda: NOW).ensure() for _ in range(4)))
    assert len({tuple(key.kid for key in keys) for keys in seen}) == 1
    assert len(seen[0]) == 1


async def test_two_rotations_at_once_leave_one_key_without_an_end(pool: asyncpg.Pool) -> None:
    await RotateKeys(pool, lambda: NOW).ensure()
    await asyncio.gather(
        *(RotateKeys(pool, lambda: NOW).rotate(token_lifetime=LIFETIME, actor="tests") for _ in range(3))
    )
    keys = await RotateKeys(pool).list_keys()
    assert len([key for key in keys if key.published_until is None]) == 1


async def test_tokens_are_accepted_all_through_a_rotation_and_the_old_key_goes(start_catalog: StartCatalog) -> None:
    one, other = await start_catalog(), await start_catalog()
    secret = await one.register()
    await one.token("acme", secret)
    [old] = await one.published_kids()
    key = await RotateKeys(one.pool, one.clock).rotate(token_lifetime=LIFETIME, actor="tests")
    [line] = await one.pool.fetch("SELECT actor, target FROM admin_audit WHERE action = 'rotate_key'")
    assert tuple(line) == ("tests", key.kid)
    for _ in range(30):
        one.clock.move(minutes=1)
        token = await one.token("acme", secret)
        assert await other.plans(token) == []
        assert await one.plans(token) == []
    assert await one.published_kids() == await other.published_kids() == [key.kid]
    assert key.kid != old
    await RotateKeys(one.pool, one.clock).rotate(token_lifetime=LIFETIME, actor="tests")
    assert old not in [key.kid for key in await RotateKeys(one.pool).list_keys()]


async def test_a_rotation_is_published_at_once_by_whoever_has_not_read_the_keys_yet(catalog: Catalog) -> None:
    [old] = await catalog.published_kids()
    key = await RotateKeys(catalog.pool, catalog.clock).rotate(token_lifetime=LIFETIME, actor="tests")
    catalog.clock.move(seconds=REREAD_AFTER.total_seconds())
    assert await catalog.published_kids() == [old, key.kid]


async def test_made_up_keys_do_not_make_us_ask_the_database_each_time(
    pool: asyncpg.Pool, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    ensure = RotateKeys.ensure

    async def count(keys: RotateKeys) -> list[SigningKey]:
        nonlocal reads
        reads += 1
        return await ensure(keys)

    monkeypatch.setattr(RotateKeys, "ensure", count)
    keys = KeyRing(pool, clock)
    assert [await keys.find_public(f"made-up-{number}") for number in range(20)] == [None] * 20
    assert reads == 1
    # A key that somebody else has just made is found all the same, soon after.
    new = await RotateKeys(pool, clock).rotate(token_lifetime=LIFETIME, actor="tests")
    clock.move(seconds=5)
    assert await keys.find_public(new.kid)
    assert reads == 2


async def test_known_keys_go_on_while_the_database_is_away(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = catalog.app[COMPONENTS].key_ring
    kid, _ = await keys.signer()

    async def fail(*_: object) -> list[SigningKey]:
        raise OSError("away")

    monkeypatch.setattr(RotateKeys, "ensure", fail)
    catalog.clock.move(hours=1)
    assert await keys.find_public(kid)
    assert (await keys.signer())[0] == kid
