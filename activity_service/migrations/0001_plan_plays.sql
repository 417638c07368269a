-- Plan plays, and the billable events that fence and announce them.
--
-- Why: the first version of this database.
-- Lock: none that anybody waits for; every table is new.

CREATE TABLE plan_play (
    id uuid NOT NULL,
    client_id text NOT NULL,
    user_id text,
    plan_id text NOT NULL,
    status text NOT NULL,
    planned_lessons text[] NOT NULL,
    current_lesson_index integer NOT NULL,
    completed_lessons text[] NOT NULL,
    completed_lesson_plays text[] NOT NULL,
    total_lessons_completed integer NOT NULL,
    email text,
    display_name text,
    photo_url text,
    assignment_source text,
    risk_level text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_played_at timestamptz,
    completed_at timestamptz,
    -- When it was ended for the first time, which is billed; null while it never was. Reopening does not clear it.
    first_ended_at timestamptz,
    -- Of a play created with an Idempotency-Key: SHA-256 of what that request said. Its id is made from the key. Null
    -- without a key, and where the user was erased: then the key is refused by name.
    fingerprint bytea,
    CONSTRAINT plan_play_pkey PRIMARY KEY (id),
    CONSTRAINT plan_play_status CHECK (status IN ('active', 'paused', 'ended', 'cancelled')),
    CONSTRAINT plan_play_ended_is_billed CHECK (status <> 'ended' OR first_ended_at IS NOT NULL),
    CONSTRAINT plan_play_current_lesson_index CHECK (current_lesson_index >= 0),
    CONSTRAINT plan_play_total_lessons_completed CHECK (total_lessons_completed >= 0)
);

-- The two lists there are: a client's plays and a user's, newest first.
CREATE INDEX plan_play_of_client ON plan_play (client_id, created_at DESC, id DESC);
CREATE INDEX plan_play_of_user ON plan_play (client_id, user_id, created_at DESC, id DESC);

-- Outbox and fence at once. The primary key decides between a request that commits its fact and whoever takes its hold
-- for lost: one of them writes the row, the other finds it. A row that says 'happened' stays until metering has charged
-- it; one that says 'abandoned' for as long as its attempt might still come back (ACTIVITY_HOLD_RETENTION_SECONDS).
-- No index but the key: the process that committed knows what to settle, and whoever looks for what others left behind
-- walks through a small table.
CREATE TABLE billable_event (
    hold_id uuid NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL,
    client_id text NOT NULL,
    event_type text NOT NULL,
    user_id text,
    units bigint NOT NULL,
    created_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- When somebody may settle it; until then it is left to the process that committed it, or that tried last.
    next_attempt_at timestamptz NOT NULL,
    parked_at timestamptz,
    last_error text,
    -- Of the request that made it, for the logs and traces of whoever has it charged.
    request_id text,
    traceparent text,
    CONSTRAINT billable_event_pkey PRIMARY KEY (hold_id),
    CONSTRAINT billable_event_outcome CHECK (outcome IN ('happened', 'abandoned')),
    CONSTRAINT billable_event_units CHECK (units > 0)
) WITH (
    -- Every row is soon deleted: to be vacuumed by number, not by share.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1
);
