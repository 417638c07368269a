"""Settings come from the environment or from mounted files, and every fault is told at once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from marshmallow import ValidationError

from activity_service.settings import ActivitySettings
from metering_service.settings import MeteringSettings
from service_chassis.settings import (
    InvalidSettings,
    ProcessSettings,
    describe_settings,
    read_settings,
    require_http_url,
    require_own_secrets,
    variable,
)


@dataclass(frozen=True)
class Settings:
    dsn: str = variable("APP_DSN", "Where the data is.")
    port: int = variable("APP_PORT", "Where to listen.", default=8080)
    wait_seconds: float = variable("APP_WAIT_SECONDS", "How long to wait.", unit="seconds", default=0.5)
    strict: bool = variable("APP_STRICT", "Whether to be strict.", default=False)
    keys: tuple[str, ...] = variable("APP_KEYS", "Who may call.", default=())


def test_variables_are_read_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DSN": "x", "PORT": "1", "WAIT_SECONDS": "2.5", "STRICT": "true", "KEYS": "a,b"}.items():
        monkeypatch.setenv(f"APP_{name}", value)
    assert read_settings(Settings) == Settings("x", 1, 2.5, True, ("a", "b"))


def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("from a file")
    monkeypatch.setenv("APP_DSN_FILE", str(tmp_path / "dsn"))
    assert read_settings(Settings) == Settings("from a file")


def test_all_faults_are_told_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "eighty")
    monkeypatch.setenv("APP_STRICT", "perhaps")
    with pytest.raises(InvalidSettings) as refused:
        read_settings(Settings)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert all(name in line for name, line in zip(("APP_DSN", "APP_PORT", "APP_STRICT"), lines, strict=True))


@pytest.mark.parametrize(
    "text", ["nonsense", "localhost:8083", "ftp://h", "http://", "http://h:port", "http://h:99999"]
)
def test_what_is_no_url_that_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        require_http_url(text)
    require_http_url("http://127.0.0.1:8083")


def test_the_table_of_settings_has_every_variable_with_unit_and_default() -> None:
    rows = [(row.variable, row.unit, row.default) for row in describe_settings(Settings)]
    assert rows[:3] == [
        ("APP_DSN", "", "required"),
        ("APP_PORT", "", "8080"),
        ("APP_WAIT_SECONDS", "seconds", "0.5"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_final_line_end_is_no_part_of_a_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str) -> None:
    (tmp_path / "dsn").write_text(f" a secret {end}", newline="")
    (tmp_path / "keys").write_text(f"a,b{end}", newline="")
    monkeypatch.setenv("APP_DSN_FILE", str(tmp_path / "dsn"))
    monkeypatch.setenv("APP_KEYS_FILE", str(tmp_path / "keys"))
    assert read_settings(Settings) == Settings(" a secret ", keys=("a", "b"))


@pytest.mark.parametrize("content", [b"first\nsecond\n", b"a\x00b", b"\xff\xfe"])
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
    monkeypatch.setenv("APP_PORT", "tcp://10.43.0.7:8082")
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
