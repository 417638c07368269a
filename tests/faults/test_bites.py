"""The checker bites: each rule of the protocol, taken away, is missed within a few seeds.

Minutes of real faults, so only `make faults-bite` runs it (FAULTS_BITE=1).
"""

import os

import pytest

from tests.faults.campaign import Campaign
from tests.faults.seeded_bugs import SEEDED_BUGS

pytestmark = pytest.mark.system

SEEDS = 3
SECONDS = 25.0

WHERE_IT_HURTS = {
    "outbox-after-the-commit": ("kill -9 after-create-statement", "activity: kill -9"),
    "hold-released-by-a-timer": ("SIGSTOP before-create-statement", "activity: SIGSTOP beyond the resolve age"),
    "release-on-an-unknown-commit": (
        "half-close activity-postgres",
        "reset activity-postgres",
        "postgres: kill -9 of a backend",
    ),
    "new-event-id-per-attempt": ("half-close clients-activity-1", "activity: kill -9"),
    "open-when-metering-is-down": ("metering: kill -9", "refuse activity-metering"),
    "check-then-write": ("internal requests doubled", "delay clients-activity-1"),
    **dict.fromkeys(
        (
            "drawn-after-its-expiry",
            "recurrence-made-twice",
            "counter-kept-by-a-partial-settle",
            "refund-given-twice",
        ),
        ("delay clients-activity-1", "reset clients-activity-1", "reset llm-metering"),
    ),
    "synchronous-commit-off": ("postgres: kill -9 of the postmaster", "everything: kill -9 at once"),
}
"""Faults that this bug is about; the whole deck would find it too, later. What is wrong with credits and counters
needs none: time moves, and there are partial settles and refunds, in any case."""


@pytest.mark.skipif(not os.environ.get("FAULTS_BITE"), reason="minutes of faults: make faults-bite")
@pytest.mark.parametrize("bug", SEEDED_BUGS)
async def test_seeded_bug_is_found_within_a_few_seeds(bug: str) -> None:
    for seed in range(1, SEEDS + 1):
        outcome = await Campaign(seed, SECONDS, report=print, bug=bug, kinds=WHERE_IT_HURTS[bug]).run()
        if outcome.violations:
            print(f"{bug}, seed {seed}: {len(outcome.violations)} violations; the first: {outcome.violations[0]}")
            return
    pytest.fail(f"{bug} was not found in {SEEDS} seeds")


def test_every_seeded_bug_has_its_faults() -> None:
    assert WHERE_IT_HURTS.keys() == SEEDED_BUGS.keys()
