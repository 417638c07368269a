"""What cannot be the URL of the server of request rates is said at the start, without a part of a secret."""

import pytest
from marshmallow import ValidationError
from redis.asyncio.connection import ConnectionPool

from service_chassis.database.redis_url import require_redis_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:secret@127.0.0.1:6379/0",
        "rediss://user:p%40ss@h:1/2?ssl_cert_reqs=none",
        "redis://h?protocol=3&client_name=x",
        "unix:///run/valkey.sock?db=1",
        "rediss://h/15?ssl_cert_reqs=required&ssl_check_hostname=false&ssl_password=x",
    ],
)
def test_what_can_be_used_is_taken_and_the_client_library_takes_it(url: str) -> None:
    require_redis_url(url)
    ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("foo", "expected"),
        ("http://:s3cr3t@h/0", "expected"),
        ("redis://", "names no server"),
        ("redis://:s3cr3t#x@h:1/0", "%"),
        ("redis://:s3cr3t%w@h/0", "%25"),
        ("redis://:s3cr3t@h:port/0", "expected"),
        ("redis://:s3cr3t@h/abc", "database"),
        ("redis://:s3cr3t@h?foo=1", "foo"),
        ("redis://:s3cr3t@h?db=1&db=2", "db twice"),
        ("rediss://:s3cr3t@h?ssl_cert_reqs=none&ssl_cert_reqs=required", "ssl_cert_reqs twice"),
        ("redis://:s3cr3t@h?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://:s3cr3t@h?ssl_cert_reqs=bogus", "ssl_cert_reqs"),
        ("rediss://:s3cr3t@h?ssl_check_hostname=maybe", "ssl_check_hostname"),
        ("rediss://:s3cr3t@h?ssl_ca_certs=/s3cr3t/none", "ssl_ca_certs"),
        ("rediss://:s3cr3t@h?ssl_certfile=/s3cr3t/none", "ssl_keyfile"),
        ("redis://:s3cr3t@h?retry=3", "retry"),
        ("redis://:s3cr3t@h?retry_on_error=", "retry_on_error"),
        ("redis://:s3cr3t@h?decode_responses=1", "decode_responses"),
        ("redis://:s3cr3t@h?encoding=x", "encoding"),
        ("redis://:s3cr3t@h?parser_class=", "parser_class"),
        ("redis://:s3cr3t@h?credential_provider=s3cr3t", "credential_provider"),
        ("redis://:s3cr3t@h?host=other", "host"),
        ("redis://:s3cr3t@h?password=s3cr3t", "password"),
        ("redis://:s3cr3t@h?socket_timeout=5", "socket_timeout"),
        ("redis://:s3cr3t@h?protocol=9", "protocol"),
        ("redis://:s3cr3t@h?client_name=a%20b", "client_name"),
        ("redis://:s3cr3t@h?db=x", "db"),
        ("redis://:s3cr3t@h/99", "database"),
        ("redis://:s3cr3t@h:0/0", "port"),
        ("redis://:s3cr3t@h:99999/0", "expected"),
        ("redis://:s3cr3t@a..b/0", "names no server"),
        ("redis://:s3cr3t%FF@h/0", "expected"),
        ("unix://:s3cr3t@h/run/valkey.sock", "names no server"),
    ],
)
def test_what_cannot_is_named_without_a_secret(url: str, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        require_redis_url(url)
    assert named in str(refused.value).replace("Names", "names")
    assert "cr3t" not in str(refused.value)
