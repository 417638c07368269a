"""What cannot be the URL of the server of request rates is said at the start, without a part of a secret."""

import pytest
from marshmallow import ValidationError

from service_chassis.database.redis_url import require_redis_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:secret@127.0.0.1:6379/0",
        "rediss://user:p%40ss@h:1/2?ssl_cert_reqs=none",
        "redis://h?protocol=3&client_name=x",
        "unix:///run/valkey.sock?db=1",
    ],
)
def test_what_can_be_used_is_taken(url: str) -> None:
    require_redis_url(url)


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
    ],
)
def test_what_cannot_is_named_without_a_secret(url: str, named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        require_redis_url(url)
    assert named in str(refused.value).replace("Names", "names")
    assert "cr3t" not in str(refused.value)
