"""Settings come from the environment or from mounted files, and every fault is told at once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from marshmallow import ValidationError

from activity_service.settings import ActivitySettings
from metering_service.settings import MeteringSettings
from service_chassis.own_secrets import require_own_secrets
from service_chassis.process_settings import LOG_LEVEL, DatabaseSettings, ProcessSettings, require_http_url
from service_chassis.settings import InvalidSettings, read_settings, variable
from tests.configuration_table import describe_settings


@dataclass(frozen=True)
class Settings:
    dsn: str = variable("APP_DSN", "Where the data is.")
    port: int = variable("APP_PORT", "Where to listen.", default=8080)
    wait_seconds: float = variable("APP_WAIT_SECONDS", "How long to wait.", unit="seconds", default=0.5)
    strict: bool = variable("APP_STRICT", "Whether to be strict.", default=False)
    keys: tuple[str, ...] = variable("APP_KEYS", "Who may call.", default=())
    level: str = variable("APP_LEVEL", "How loud.", default="info", validate=LOG_LEVEL)


def test_variables_are_read_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DSN": "x", "PORT": "1", "WAIT_SECONDS": "2.5", "STRICT": "true", "KEYS": "a,b"}.items():
        monkeypatch.setenv(f"APP_{name}", value)
    assert read_settings(Settings) == Settings("x", 1, 2.5, True, ("a", "b"))


def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("from a file")
    monkeypatch.setenv("APP_DSN_FILE", str(tmp_path / "dsn"))
    assert read_settings(Settings) == Settings("from a file")


def test_a_value_and_a_file_that_stands_for_it_are_not_both_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dsn").write_text("from a file")
    monkeypatch.setenv("APP_DSN_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("APP_DSN", "from a shell")
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    assert str(refused.value) == "APP_DSN: is set, and so is APP_DSN_FILE, which stands for it; keep one of them"
    # As a compose file sets what its shell lacks.
    monkeypatch.setenv("APP_DSN", "")
    assert read_settings(Settings).dsn == "from a file"


def test_all_faults_are_told_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "eighty")
    monkeypatch.setenv("APP_STRICT", "perhaps")
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert all(name in line for name, line in zip(("APP_DSN", "APP_PORT", "APP_STRICT"), lines, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        *("nonsense", "localhost:8083", "ftp://h", "http://", "http://h:port", "http://h:99999"),
        *("http://a..b", "http://a,http://b", "http://*", "http://%zz", f"http://{'a' * 70}"),
        *("http://user:secret@h", "http://h/?a=b", "http://h?", "http://h/#part"),
    ],
)
def test_what_is_no_url_that_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        require_http_url(text)
    assert "secret" not in str(refused.value)
    for text in ("http://127.0.0.1:8083", "http://metering_1:8083", "https://[::1]/base", "http://bücher.example"):
        require_http_url(text)


def test_the_table_of_settings_has_every_variable_with_unit_and_default() -> None:
    rows = [(row.variable, row.unit, row.default) for row in describe_settings(Settings)]
    assert rows[:3] == [
        ("APP_DSN", "", "required"),
        ("APP_PORT", "", "8080"),
        ("APP_WAIT_SECONDS", "seconds", "0.5"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("between", [",", ", ", "\n", "\r\n", ",\n"])
def test_a_byte_order_mark_a_final_line_end_and_blanks_are_no_part_of_a_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str, mark: str, between: str
) -> None:
    values = {"DSN": " a secret ", "KEYS": f"a{between}b", "LEVEL": "debug", "PORT": "1", "WAIT_SECONDS": "2"}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{mark}{value}{end}", newline="")
        monkeypatch.setenv(f"APP_{name}_FILE", str(tmp_path / name))
    assert read_settings(Settings) == Settings("a secret", 1, 2.0, keys=("a", "b"), level="debug")


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["APP_DSN", "APP_KEYS", "APP_LEVEL"])
def test_an_empty_file_is_no_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, name: str
) -> None:
    if name != "APP_DSN":
        monkeypatch.setenv("APP_DSN", "x")
    (tmp_path / "file").write_bytes(content)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "file"))
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    assert str(refused.value) == f"{name}: its file must not be empty"


def test_a_file_that_is_not_there_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        monkeypatch.setenv("APP_DSN_FILE", str(path))
        with pytest.raises(InvalidSettings) as refused:
            read_settings(Settings)
        assert str(refused.value) == "APP_DSN: its file must be a file that can be read"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("APP_PORT", "eighty", "Must be a whole number."),
        ("APP_PORT", "", "Must be a whole number."),
        ("APP_PORT", "8_082", "Must be a whole number."),
        ("APP_PORT", "\u0668\u0660", "Must be a whole number."),
        ("APP_WAIT_SECONDS", "nan", "Must be a finite number."),
        ("APP_WAIT_SECONDS", "soon", "Must be a number."),
        ("APP_STRICT", "perhaps", "Must be true or false."),
        ("APP_LEVEL", "loud", "Must be one of: debug, info, warning, error."),
        ("APP_DSN", " ", "must not be empty"),
        ("APP_DSN", "'marked'", "stands in quotes, which would be part of it; leave them out"),
        ("APP_KEYS", '"a,b"\r\n', "stands in quotes, which would be part of it; leave them out"),
        ("APP_PORT", '"8082"', "stands in quotes, which would be part of it; leave them out"),
    ],
)
def test_what_cannot_be_read_is_told_in_our_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("APP_DSN", "x")
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    assert str(refused.value) == f"{name}: {said}"


def test_a_variable_that_is_missing_is_told_with_the_misspelled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Prefixed(DatabaseSettings):
        prefix = "METERING_"

    for other in ("METRIC_POSTGRES_DSN", "METERING_LOG_LEVEL"):
        monkeypatch.setenv(other, "marked")
        with pytest.raises(InvalidSettings) as refused:
            read_settings(Prefixed)
        assert str(refused.value) == "METERING_POSTGRES_DSN is missing"
    for name in ("METERING_POSTGRE_DSN", "METERING_POSTGRES_DNS_FILE"):
        with monkeypatch.context() as context:
            context.setenv(name, "marked")
            with pytest.raises(InvalidSettings) as refused:
                read_settings(Prefixed)
        hint = f"; is {name}, which is set, meant for it?"
        assert str(refused.value) == f"METERING_POSTGRES_DSN is missing{hint}"


@pytest.mark.parametrize("content", [b"first\nsecond\n", b"a\x00b", b"\xff\xfe", b"\xef\xbb\xbffirst\x07"])
def test_a_value_that_no_header_can_hold_is_refused_by_name_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "dsn").write_bytes(content)
    monkeypatch.setenv("APP_DSN_FILE", str(tmp_path / "dsn"))
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    assert str(refused.value).startswith("APP_DSN")
    assert "first" not in str(refused.value)


def test_what_kubernetes_sets_for_a_service_of_the_same_name_is_not_meant_for_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APP_DSN", "x")
    for protocol in ("tcp", "udp", "sctp"):
        monkeypatch.setenv("APP_PORT", f"{protocol}://10.43.0.7:8082")
        assert read_settings(Settings).port == 8080


DSN = "postgresql://activity:hT8sOqT1@db/activity"


def activity(dsn: str = DSN, key: str = "N7cTq0vVb3") -> ProcessSettings:
    address = "http://127.0.0.1:1"
    return ActivitySettings(postgres_dsn=dsn, jwks_url=address, metering_url=address, metering_key=key)


def metering(redis_url: str = "redis://db", key: str = "N7cTq0vVb3") -> ProcessSettings:
    entries = ("events:activity:" + "0" * 64, "admin:ops:" + hashlib.sha256(key.encode()).hexdigest())
    return MeteringSettings(postgres_dsn=DSN, redis_url=redis_url, service_keys=entries)


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (activity("postgresql://activity:postgres@db/activity"), "ACTIVITY_POSTGRES_DSN"),
        (activity("postgresql://activity:@db/activity"), "ACTIVITY_POSTGRES_DSN"),
        (activity("postgresql://activity@db/activity?password=changeme"), "ACTIVITY_POSTGRES_DSN"),
        (activity(key="secret"), "ACTIVITY_METERING_KEY"),
        (metering("redis://:@db"), "METERING_REDIS_URL"),
        (metering("redis://:redis@db"), "METERING_REDIS_URL"),
        (metering(key=""), "METERING_SERVICE_KEYS"),
        (metering(key="changeme"), "METERING_SERVICE_KEYS"),
    ],
)
def test_an_empty_or_widely_known_secret_is_refused_by_name_unless_all_stays_on_this_machine(
    settings: ProcessSettings, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_ONLY", raising=False)
    with pytest.raises(InvalidSettings) as refused:
        require_own_secrets(settings)
    assert str(refused.value).startswith(f"{variable}: ")
    assert str(refused.value).count("\n") == 0
    monkeypatch.setenv("LOCAL_ONLY", "yes")
    require_own_secrets(settings)


def test_own_secrets_and_servers_that_want_no_password_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_ONLY", raising=False)
    for settings in (activity(), activity("postgresql://activity@db/activity"), metering()):
        require_own_secrets(settings)
