"""What must be true of notices: pure checks, a row at a time, as those of accounts (checks.py)."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from service_chassis.cli.audit_report import Finding


@dataclass(frozen=True, slots=True)
class QuotaNotice:
    """A notice that a quota's threshold was reached, with what it said was used, beside what its counter says is."""

    client_id: str
    name: str
    told: int
    used: int


@dataclass(frozen=True, slots=True)
class DeadWebhook:
    """A notice that a receiver did not take, and that was given up."""

    notice_id: UUID
    client_id: str
    receiver: str
    last_error: str


def check_notice(notice: QuotaNotice) -> Iterator[Finding]:
    """Yield a notice that told of more than was ever used."""
    if notice.told > notice.used:
        yield Finding(
            "told_too_much",
            notice.client_id,
            f"{notice.name} was told to have {notice.told} used, but has {notice.used}",
        )


def describe_dead_webhook(webhook: DeadWebhook) -> Finding:
    """Say who was not told of what."""
    return Finding(
        "webhook_dead",
        str(webhook.notice_id),
        f"of {webhook.client_id} was not taken by {webhook.receiver}: {webhook.last_error}",
    )
