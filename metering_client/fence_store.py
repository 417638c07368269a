"""The fence (commit record) of many facts, as a part of the one statement that stores them."""

LEASE_SECONDS = 10.0
"""How long an event is left to the process that committed or claimed it: several times what a settle may take.
Another process settles it after that, and if both do, it is charged once."""


def insert_fences(*, retention: str) -> str:
    """Return the INSERT that writes the fences of the rows of `item`, to stand in one's own statement for many facts.

    `item` has hold_id uuid, held_at timestamptz and attempted bigint (the Grant's `hold_id`, `held_at` and
    `attempted_milliseconds`), event_id, client_id, event_type and user_id text, units bigint, created_at timestamptz,
    when the fact happened, and request_id and traceparent text (of the event's `origin`). `retention` is the
    parameter that holds it, an interval. Returns the hold_id of each that was written, whose fact is then stored by
    the same statement. A row without held_at was granted as settled: it gets no fence, and its fact is stored where
    it is not there.

    The hold may be of an attempt that stood still for very long. What was given up is remembered for a retention, so
    a hold older than half of it, by either of the clocks that dated it, is not used any more.
    """
    return f"""
            INSERT INTO billable_event
                (hold_id, event_id, outcome, client_id, event_type, user_id, units, created_at, next_attempt_at,
                 request_id, traceparent)
            SELECT hold_id, event_id, 'happened', client_id, event_type, user_id, units, created_at,
                   utc_now() + interval '{LEASE_SECONDS} s', request_id, traceparent
            FROM item
            WHERE held_at IS NOT NULL
              AND least(held_at, to_timestamp(attempted / 1000.0)) > utc_now() - {retention}::interval / 2
            ORDER BY hold_id
            ON CONFLICT ON CONSTRAINT billable_event_pkey DO NOTHING
            RETURNING hold_id
        """
