"""What a session with PostgreSQL has, where others have set something else."""

from collections.abc import Callable

import psycopg

from service_chassis.database.pool import open_pool


async def test_a_session_is_as_the_code_takes_it_to_be_whatever_the_database_has_instead(
    empty_database: Callable[[], str],
) -> None:
    dsn = empty_database()
    needed = {
        "default_transaction_isolation": ("serializable", "read committed"),
        "row_security": ("off", "on"),
        "synchronous_commit": ("off", "on"),
        "timezone": ("Asia/Tokyo", "UTC"),
    }
    with psycopg.connect(dsn, autocommit=True) as superuser:
        for name, (set_by_somebody, _) in needed.items():
            superuser.execute(f"ALTER DATABASE {superuser.info.dbname} SET {name} = '{set_by_somebody}'")
    async with open_pool(dsn, size=1, application_name="test") as pool:
        assert {name: await pool.fetchval(f"SHOW {name}") for name in needed} == {
            name: value for name, (_, value) in needed.items()
        }
