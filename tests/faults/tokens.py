"""The second product of a campaign, which bills by the library: its callers, its rows, what must be true of them."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import asyncpg

from metering_client import AuditFacts, ChargesClient, stream_facts
from prove.history import Attempt, History
from prove.rest import REST_LIMIT_SECONDS
from service_chassis.cli.audit_report import AuditReport, Finding
from tests.faults.fault_stack import TOKEN_SELLERS, FaultStack
from tests.faults.operator import MOST_TOKENS, TOKEN_BUYERS, TOKENS

CALLERS = 4
THINK_SECONDS = 0.1
RETRIES = 6
RETRY_SECONDS = (0.1, 1.0)


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer as it stands; `operation` is what its prompt began with."""

    event_id: str
    client_id: str
    operation: str
    tokens: int


class TokenCallers:
    """Buy answers until stopped: with a key as a rule, again until each is known, at times twice at once."""

    def __init__(
        self, stack: FaultStack, session: aiohttp.ClientSession, history: History, stopping: asyncio.Event
    ) -> None:
        self._stack = stack
        self._session = session
        self._history = history
        self._stopping = stopping
        self._operations = itertools.count(1)

    async def call(self, rng: random.Random) -> None:
        """Be one caller."""
        while not self._stopping.is_set():
            operation = f"answer-{next(self._operations)}"
            key = operation if rng.random() < 0.8 else None
            times = rng.randint(2, 3) if key is not None and rng.random() < 0.15 else 1
            client_id, words = rng.choice(TOKEN_BUYERS), rng.randint(1, MOST_TOKENS)
            for _ in range(RETRIES if key is not None else 1):
                buying = [self._buy(rng, operation, client_id, key, words) for _ in range(times)]
                attempts = await asyncio.gather(*buying)
                if not all(attempt.is_unknown for attempt in attempts) or self._stopping.is_set():
                    break
                await asyncio.sleep(rng.uniform(*RETRY_SECONDS))
            await asyncio.sleep(rng.expovariate(1 / THINK_SECONDS))

    async def _buy(self, rng: random.Random, operation: str, client_id: str, key: str | None, words: int) -> Attempt:
        url = f"{self._stack.url(rng.choice(TOKEN_SELLERS))}/completions"
        body = {"prompt": " ".join([operation, *["word"] * (words - 1)]), "maxTokens": MOST_TOKENS}
        headers = {"X-Client-Id": client_id} | ({"Idempotency-Key": key} if key is not None else {})
        attempt = self._history.begin(operation, "buy", client_id, key=key)
        try:
            async with self._session.post(url, json=body, headers=headers) as response:
                return self._history.end(attempt, response.status, await response.json())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return self._history.end(attempt, None, fault=type(error).__name__)


@dataclass(frozen=True, slots=True)
class TokensAtRest:
    """What there is of the second product in the end, and what is wrong with it."""

    answers: int
    abandoned: int
    findings: Sequence[Finding]


async def check_tokens(stack: FaultStack, attempts: Sequence[Attempt], now: datetime) -> TokensAtRest:
    """Hold the second product's answers against what its callers were told and what was charged, at rest.

    `now` is later than all there is, in anybody's time.
    """
    async with (
        asyncpg.create_pool(stack.guest_dsn, min_size=0, max_size=2) as pool,
        aiohttp.ClientSession() as session,
    ):
        await _await_rest(pool)
        rows = await pool.fetch(
            "SELECT event_id, client_id, lower(split_part(answer, ' ', 1)), tokens FROM completion"
        )
        abandoned = await pool.fetchval("SELECT count(*) FROM billable_event WHERE outcome = 'abandoned'")
        audit = AuditFacts(pool, frozenset({TOKENS}), now, in_flight_seconds=-3600)
        charges = ChargesClient(session, url=stack.url("metering"), key=stack.secrets["admin_key"])
        reports = [
            await audit.check_outbox("answers"),
            await audit.check_charges("answers", stream_facts(pool), charges),
        ]
    metering = await asyncpg.connect(stack.dsns["metering"])
    try:
        charged = await metering.fetch(
            "SELECT event_id, units FROM ledger_entry WHERE kind = 'spend' AND event_type = $1", TOKENS
        )
    finally:
        await metering.close()
    answers = [AnswerRow(*row) for row in rows]
    findings = [*check_answers(attempts, answers, dict(charged)), *_found(reports)]
    return TokensAtRest(len(answers), abandoned, findings)


async def _await_rest(pool: asyncpg.Pool) -> None:
    """Wait until what metering has charged is forgotten; what is left after that is for the audit to say."""
    deadline = asyncio.get_running_loop().time() + REST_LIMIT_SECONDS
    waiting = "SELECT count(*) FROM billable_event WHERE outcome = 'happened' AND parked_at IS NULL"
    while await pool.fetchval(waiting) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a database
        await asyncio.sleep(0.1)


def _found(reports: Sequence[AuditReport]) -> Iterator[Finding]:
    for report in reports:
        for number, findings in (("2", report.violations), ("6", report.unfinished)):
            for each in findings:
                yield Finding(f"{number}-{each.rule}", each.subject, each.detail)


def check_answers(
    attempts: Sequence[Attempt], answers: Sequence[AnswerRow], charged: Mapping[str, int]
) -> Iterator[Finding]:
    """1, 2 and 5 for answers; `charged` are the units by event id."""
    asked: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.kind == "buy":
            asked[attempt.operation].append(attempt)
    made: dict[str, list[AnswerRow]] = defaultdict(list)
    for row in answers:
        made[row.operation].append(row)
        if charged.get(row.event_id) != row.tokens:
            was = charged.get(row.event_id, "nothing")
            yield Finding("2-units", row.event_id, f"{row.tokens} tokens, and {was} charged")
    for event_id in charged.keys() - {row.event_id for row in answers}:
        yield Finding("2-charge-without-answer", event_id, "charged, and there is no answer")
    for operation, rows in made.items():
        if operation not in asked:
            yield Finding("1-unasked", operation, "an answer that nobody asked for")
        elif len(rows) > 1:
            yield Finding("1-created-twice", operation, f"answers {[row.event_id for row in rows]}")
        elif all(attempt.is_refused for attempt in asked[operation]):
            yield Finding("1-refused-and-created", operation, "refused every time, and the answer is there")
    for operation, tries in asked.items():
        told = {attempt.answer["tokens"] for attempt in tries if attempt.status == 200}
        there = {row.tokens for row in made.get(operation, ())}
        if told - there:
            yield Finding("1-lost-create", operation, f"told {sorted(told)} tokens, and there are {sorted(there)}")
