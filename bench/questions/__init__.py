"""One question per file. Each says what it measures, beside what, and which ratio it is after."""

from bench.question import Question
from bench.questions import (
    authorize_many,
    authorize_one,
    authorize_terms,
    create_bare,
    create_fastapi,
    create_gringotts,
    create_latency,
    create_node,
    create_open_loop,
    create_same_work,
    create_workers,
    get_plans,
    growth_ledger,
    growth_minutes,
    growth_page,
    growth_relay,
    growth_start,
    growth_stream,
    hot_client,
    hot_row,
)

QUESTIONS: tuple[Question, ...] = (
    authorize_one.QUESTION,
    authorize_many.QUESTION,
    authorize_terms.QUESTION,
    hot_client.QUESTION,
    hot_row.QUESTION,
    create_same_work.QUESTION,
    create_node.QUESTION,
    create_fastapi.QUESTION,
    create_gringotts.QUESTION,
    create_open_loop.QUESTION,
    create_bare.QUESTION,
    create_workers.QUESTION,
    create_latency.QUESTION,
    get_plans.QUESTION,
    growth_page.QUESTION,
    growth_stream.QUESTION,
    growth_relay.QUESTION,
    growth_start.QUESTION,
    growth_ledger.QUESTION,
    growth_minutes.QUESTION,
)
"""In the order in which they are asked."""
