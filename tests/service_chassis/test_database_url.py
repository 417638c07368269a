"""One reading of a database's URL: alike for what serves and what migrates, and silent about secrets."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from marshmallow import ValidationError
from psycopg import sql

from service_chassis.database.migrations import Schema, apply_schema
from service_chassis.database.pool import open_pool
from service_chassis.database.url import as_asyncpg_url, read_database_url, with_database

SECRET = "s3cr3t"
NOTHING = Schema(Path(__file__).parent, frozenset(), {})


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:s3cr3t%w@h/db", "%25"),
        ("postgresql://u:s3@cr3t@h/db", "%40"),
        ("postgresql://u:s3cr3t/x@h/db", "%2F"),
        ("postgresql://u:12/s3cr3t@h/db", "%2F"),
        ("postgresql://u:s3cr3t@h:none/db", "port"),
        ("postgresql://u:s3cr3t@h/db?channel_binding=require", "channel_binding"),
        ("postgresql://u:s3cr3t@h/db?gssencmode=require", "gssencmode"),
        ("postgresql://u:s3cr3t@h/db?hostaddr=127.0.0.1", "hostaddr"),
        ("postgresql://u:s3cr3t@h/db?require_auth=md5", "require_auth"),
        ("postgresql://u:s3cr3t@h/db?statement_timeout=5", "statement_timeout"),
        ("postgresql://u:s3cr3t@h/db?sslmode", "expected"),
        ("postgresql+asyncpg://u:s3cr3t@h/db", "expected"),
        ("mysql://u:s3cr3t@h/db", "expected"),
        ("host=h password=s3cr3t", "expected"),
        ("", "expected"),
        ("postgresql://u:s3cr3t@h/db?connect_timeout=abc", "connect_timeout"),
        ("postgresql://u:s3cr3t@h/db?connect_timeout=-1", "connect_timeout"),
        ("postgresql://u:s3cr3t@h/db?keepalives_idle=abc", "keepalives_idle"),
        ("postgresql://u:s3cr3t@h/db?keepalives_count=99999999999", "keepalives_count"),
        ("postgresql://u:s3cr3t@h/db?tcp_user_timeout=1.5", "tcp_user_timeout"),
        ("postgresql://u:s3cr3t@h/db?keepalives=maybe", "keepalives"),
        ("postgresql://u:s3cr3t@h/db?service=nosuch", "service"),
        ("postgresql://u:s3cr3t@h/db?sslmode=bogus", "sslmode"),
        ("postgresql://u:s3cr3t@h/db?sslmode=verify-full", "sslrootcert"),
        ("postgresql://u:s3cr3t@h/db?sslnegotiation=bogus", "sslnegotiation"),
        ("postgresql://u:s3cr3t@h/db?sslnegotiation=direct", "sslnegotiation"),
        ("postgresql://u:s3cr3t@h/db?ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version"),
        (
            "postgresql://u:s3cr3t@h/db?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "ssl_min_protocol_version",
        ),
        ("postgresql://u:s3cr3t@h/db?target_session_attrs=bogus", "target_session_attrs"),
        ("postgresql://u:s3cr3t@h/db?load_balance_hosts=random", "load_balance_hosts"),
        ("postgresql://u:s3cr3t@h/db?client_encoding=latin1", "client_encoding"),
        ("postgresql://u:s3cr3t@h/db?gsslib=bogus", "gsslib"),
        ("postgresql://u:s3cr3t@h/db?options=geqo", "options"),
        ("postgresql://u:s3cr3t@h/db?options=-c geqo=off", "options an = that must be written %3D"),
        ("postgresql://u:s3cr3t@h/db?sslmode=require&sslmode=disable", "sslmode twice"),
        ("postgresql://u:p?s3cr3t=1@h/db?sslmode=require&sslmode=require", "sslmode twice"),
        ("postgresql:///db?host=/run/pg&user=a@b&host=h", "host twice"),
        ("postgresql://u:s3cr3t@h/db?sslrootcert=/s3cr3t/none", "sslrootcert"),
        ("postgresql://u:s3cr3t@h/db?sslrootcert=system", "sslrootcert"),
        ("postgresql://u:s3cr3t@h/db?sslcrl=/s3cr3t/none", "sslcrl"),
        ("postgresql://u:s3cr3t@h/db?sslcert=/s3cr3t/none&sslkey=/s3cr3t/none", "file"),
        ("postgresql://u:s3cr3t@h/db?sslkey=/s3cr3t/none", "sslcert"),
        ("postgresql://u:s3cr3t@h/db?sslcert=/s3cr3t/none", "sslkey"),
        ("postgresql://u@h/db?passfile=/s3cr3t/none", "passfile"),
        ("postgresql://u:s3cr3t@h:99999/db", "port"),
        ("postgresql://u:s3cr3t@h:0/db", "port"),
        ("postgresql://u:s3cr3t@h:1,i/db?port=1,2,3", "port"),
        ("postgresql://u:s3cr3t@/db", "host"),
        ("postgresql://u:s3cr3t@a,,b/db", "host"),
        ("postgresql://u:s3cr3t@a..b/db", "host"),
        ("postgresql://u:s3cr3t@*/db", "host"),
        ("postgresql://u:s3cr3t%FF@h/db", "UTF-8"),
        ("postgresql://u:s3cr3t\udcff@h/db", "UTF-8"),
    ],
)
def test_what_cannot_be_used_is_named_without_a_secret(url: str, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read_database_url(url)
    assert named in str(refused.value)
    assert not any(part in str(refused.value) for part in (SECRET, "s3", "cr3t"))


@pytest.fixture
def key_pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "cert").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "key").chmod(0o600)
    return tmp_path / "cert", tmp_path / "key"


def test_files_of_certificates_are_read_at_once(key_pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = key_pair
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    url = f"postgresql://u@h/db?sslmode=verify-ca&sslrootcert={certificate}&sslcert={certificate}&sslkey={key}"
    assert read_database_url(url)["sslkey"] == str(key)
    for fault in (
        url.replace(f"sslrootcert={certificate}", f"sslrootcert={nonsense}"),
        url.replace(f"sslkey={key}", f"sslkey={nonsense}"),
        url.replace(f"sslcert={certificate}", f"sslcert={key}"),
    ):
        with pytest.raises(ValidationError, match="cannot be used"):
            read_database_url(fault)
    key.chmod(0o644)
    with pytest.raises(ValidationError, match="sslkey"):
        read_database_url(url)


def test_a_file_of_passwords_that_others_may_read_is_refused(tmp_path: Path) -> None:
    passfile = tmp_path / "passwords"
    passfile.write_text("*:*:*:*:x")
    for mode in (0o644, 0o640):
        passfile.chmod(mode)
        with pytest.raises(ValidationError, match="passfile"):
            read_database_url(f"postgresql://u@h/db?passfile={passfile}")
    passfile.chmod(0o600)
    read_database_url(f"postgresql://u@h/db?passfile={passfile}")


def test_each_host_has_its_port() -> None:
    assert read_database_url("postgresql://a,b:2/db")["port"] == "5432,2"
    assert read_database_url("postgresql://a,b/db?port=7")["port"] == "7,7"
    assert read_database_url("postgresql:///db?host=/run/pg")["port"] == "5432"


def test_hosts_and_addresses_are_handed_on() -> None:
    assert "host=a%2Cb" in as_asyncpg_url("postgresql://a:1,b:2/db?target_session_attrs=read-write")
    assert "%5B%3A%3A1%5D" in as_asyncpg_url("postgresql://[::1]:5432/db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2F%23x@h:1/a?sslmode=require",
        "postgresql://u@a,b:2/a",
        "postgresql://[::1]:5432/a",
        "postgresql:///a?host=/run/pg",
        "postgresql://u:p#q?r@h/a",
    ],
)
def test_another_database_of_the_same_server_differs_in_nothing_else(url: str) -> None:
    assert read_database_url(with_database(url, "b c")) == {**read_database_url(url), "dbname": "b c"}


@pytest.fixture
def database(empty_database: Callable[[], str]) -> str:
    """The URL of a database that somebody with a hard password owns, `{}` where its password stands."""
    dsn = empty_database()
    parts = read_database_url(dsn)
    user = f"owner_of_{parts['dbname']}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal("a#b?c%d"))
        )
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(parts["dbname"]), sql.Identifier(user))
        )
    return f"postgresql://{user}:{{}}@{parts['host']}:{parts['port']}/{parts['dbname']}"


@pytest.mark.parametrize("password", ["a#b?c%25d", "a%23b%3Fc%25d"])
@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "?channel_binding=prefer&connect_timeout=7&gssencmode=disable&keepalives=1&keepalives_idle=30&sslmode=prefer",
        "?application_name=mine&client_encoding=utf8&load_balance_hosts=disable&target_session_attrs=read-write",
        "?options=-c%20geqo%3Doff%20--jit%3Doff",
        "?client_encoding=UTF-8&sslnegotiation=postgres&ssl_min_protocol_version=TLSv1.2&sslsni=0&sslcompression=0"
        "&ssl_max_protocol_version=TLSv1.3&target_session_attrs=primary&keepalives=0&tcp_user_timeout=5000"
        "&gsslib=gssapi&gssdelegation=0&sslcertmode=allow&replication=false&keepalives_interval=1&keepalives_count=2",
        "?target_session_attrs=prefer-standby&fallback_application_name=mine",
    ],
)
async def test_what_migrates_and_what_serves_read_a_url_alike(database: str, password: str, parameters: str) -> None:
    url = database.format(password) + parameters
    apply_schema(url, NOTHING)
    async with open_pool(url, size=1, application_name="test") as pool, pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sql_function") == 0


@pytest.mark.parametrize("first", ["127.0.0.1:1", "127.0.0.9"])
async def test_the_next_host_is_taken_where_the_first_is_away(database: str, first: str) -> None:
    url = database.format("a#b?c%25d").replace("@", f"@{first},")
    apply_schema(url, NOTHING)
    async with open_pool(url, size=1, application_name="test") as pool, pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sql_function") == 0
