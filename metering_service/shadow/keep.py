"""Decide by shadow policies, beside the decisions and after them, and keep what they would have refused."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import asyncpg

from metering_service.errors import PolicyNotFound
from metering_service.events.decision import Decision
from metering_service.events.event import BillableEvent
from metering_service.metrics import MeteringMetrics
from metering_service.policies.cache import PolicyCache
from metering_service.policies.policy import PolicyVersion, Quota
from metering_service.policies.store import PolicyStore
from metering_service.rates.limiter import RateOutcome
from metering_service.shadow.store import ShadowStore
from metering_service.shadow.verdict import ShadowedEvent, ShadowRefusals, Verdict, judge, read_own_verdict
from service_chassis.http.cursor import cut_page

JUDGE_INTERVAL_SECONDS = 1.0
_WAITING = 50_000
"""Events that may wait to be judged: a flood leaves out the rest, and costs nothing."""

FIRST_REFUSALS = (date(2000, 1, 1), "", "", "")
"""Where a report begins."""
_LAST_DAY = date(9000, 1, 1)


@dataclass(slots=True)
class KeepShadow:
    """Judges events once a second; the decisions do not wait for it. A killed process loses its last second."""

    pool: asyncpg.Pool
    policies: PolicyCache
    default_policy: str
    metrics: MeteringMetrics
    _waiting: list[ShadowedEvent] = field(default_factory=list)
    _own: list[tuple[str, BillableEvent, date, Verdict]] = field(default_factory=list)

    def note(self, event: BillableEvent, decision: Decision, shadow_rate: RateOutcome | None) -> None:
        """Have a decided event judged by its client's shadow policy, whose rates said `shadow_rate`.

        What a policy that is itself in shadow mode would have refused is kept, too.
        """
        receipt, at = decision.receipt, decision.held_at
        if receipt is None or at is None or not decision.is_new or len(self._waiting) >= _WAITING:
            return
        own = read_own_verdict(event, decision)
        if own is not None and len(self._own) < _WAITING:
            self._own.append((receipt.policy_id, event, at.date(), own))
        if shadow_rate is not None:
            is_granted = decision.decision == "granted"
            self._waiting.append(ShadowedEvent(event, at, is_granted, shadow_rate, receipt.available_before))

    async def run_once(self) -> None:
        """Judge what waits. What cannot be written now is lost: no money hangs on it."""
        waiting, self._waiting = self._waiting, []
        own, self._own = self._own, []
        if not waiting and not own:
            return
        refused: dict[tuple[str, date, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for policy_id, event, day, verdict in own:
            _add(refused, policy_id, day, event, verdict)
        async with self.pool.acquire() as connection, connection.transaction():
            store = ShadowStore(connection)
            if waiting:
                await self._judge(connection, store, waiting, refused)
            for (_, _, _, code, _), (count, _) in refused.items():
                self.metrics.shadow_refusals(code).inc(count)
            if refused:
                names = ("policy_id", "day", "client_id", "code", "limit_name", "refused", "credits")
                await store.add([dict(zip(names, (*key, *sums), strict=True)) for key, sums in refused.items()])

    async def _judge(
        self,
        connection: asyncpg.Connection,
        store: ShadowStore,
        waiting: Sequence[ShadowedEvent],
        refused: dict[tuple[str, date, str, str, str], list[int]],
    ) -> None:
        client_ids = sorted({each.event.client_id for each in waiting})
        present = await PolicyStore(connection).list_of_clients(client_ids, self.default_policy)
        cached = await self.policies.fetch_of_clients(client_ids, connection)
        for client_id in client_ids:
            if cached[client_id].shadow != present[client_id].shadow:
                self.policies.forget(client_id)
        available = await store.list_available(client_ids)
        judged = [(each, shadow) for each in waiting if (shadow := present[each.event.client_id].shadow) is not None]
        asked = {key: quota for each, shadow in judged for key, quota in _find_counters(shadow, each.event)}
        found = await store.list_counters(
            [
                {"k": number, "period": quota.period, "anchor": quota.anchor, **_as_columns(key)}
                for number, (key, quota) in enumerate(asked.items())
            ]
        )
        begun = dict(zip(asked, found, strict=True))
        used = {key: before for key, (_, before) in begun.items()}
        for each, shadow in judged:
            counters = _find_counters(shadow, each.event)
            spendable = available.get(each.event.client_id, 0) if each.available is None else each.available
            verdict = judge(shadow.policy, each, [used[key] for key, _ in counters], spendable)
            if verdict.code is not None:
                _add(refused, shadow.policy_id, each.at.date(), each.event, verdict)
            elif each.is_granted:
                for key, quota in counters:
                    used[key] += quota.count(each.event.units, verdict.credits)
        counted = [
            {**_as_columns(key), "starts_at": starts_at, "used": used[key] - before}
            for key, (starts_at, before) in begun.items()
            if used[key] != before
        ]
        if counted:
            await store.count(counted)


_CounterKey = tuple[str, str, str, str, str]


def _as_columns(key: _CounterKey) -> dict[str, str]:
    return dict(zip(("client_id", "policy_id", "name", "rule", "user_id"), key, strict=True))


def _find_counters(version: PolicyVersion, event: BillableEvent) -> list[tuple[_CounterKey, Quota]]:
    """Return the counters that an event counts in, each with its quota, in the order of the policy's."""
    users = {"client": "", "user": event.user_id or ""}
    return [
        ((event.client_id, version.policy_id, quota.name, quota.rule, users[quota.per]), quota)
        for quota in version.policy.quotas_of(event.event_type)
    ]


def _add(
    refused: dict[tuple[str, date, str, str, str], list[int]],
    policy_id: str,
    day: date,
    event: BillableEvent,
    verdict: Verdict,
) -> None:
    sums = refused[policy_id, day, event.client_id, verdict.code or "", verdict.limit]
    sums[0] += 1
    sums[1] += verdict.credits


async def report_shadow(
    pool: asyncpg.Pool,
    policy_id: str,
    from_day: date | None,
    to_day: date | None,
    after: tuple[date, str, str, str],
    limit: int,
) -> tuple[Sequence[ShadowRefusals], ShadowRefusals | None]:
    """Return a page of what a policy would have refused, by day, client and limit; its last if more follow.

    Raises PolicyNotFound.
    """
    if not await PolicyStore(pool).list_versions(policy_id):
        raise PolicyNotFound(policy_id)
    lines = await ShadowStore(pool).list_refusals(
        policy_id, from_day or FIRST_REFUSALS[0], to_day or _LAST_DAY, after, limit + 1
    )
    return cut_page(lines, limit)
