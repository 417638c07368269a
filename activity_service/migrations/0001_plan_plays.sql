-- Plan plays, the billable events that fence and announce them, and the responses stored for Idempotency-Keys.
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
    CONSTRAINT plan_play_pkey PRIMARY KEY (id),
    CONSTRAINT plan_play_status CHECK (status IN ('active', 'paused', 'ended', 'cancelled')),
    CONSTRAINT plan_play_ended_is_billed CHECK (status <> 'ended' OR first_ended_at IS NOT NULL),
    CONSTRAINT plan_play_current_lesson_index CHECK (current_lesson_index >= 0),
    CONSTRAINT plan_play_total_lessons_completed CHECK (total_lessons_completed >= 0)
);

-- The two lists there are: a client's plays and a user's, newest first.
CREATE INDEX plan_play_of_client ON plan_play (client_id, created_at DESC, id DESC);
CREATE INDEX plan_play_of_user ON plan_play (client_id, user_id, created_at DESC, id DESC);

-- Outbox and fence at once. The primary key decides between a request that commits its fact and the sweeper that
-- takes its hold for lost: one of them writes the row, the other finds it.
CREATE TABLE billable_event (
    hold_id uuid NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL,
    client_id text NOT NULL,
    event_type text NOT NULL,
    user_id text,
    units bigint NOT NULL,
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    parked_at timestamptz,
    last_error text,
    CONSTRAINT billable_event_pkey PRIMARY KEY (hold_id),
    CONSTRAINT billable_event_outcome CHECK (outcome IN ('happened', 'abandoned')),
    CONSTRAINT billable_event_units CHECK (units > 0),
    CONSTRAINT billable_event_abandoned_stays_unsettled CHECK (outcome = 'happened' OR settled_at IS NULL)
);

-- What the relay has to send. Holds no row at rest.
CREATE INDEX billable_event_unsettled ON billable_event (next_attempt_at, hold_id)
    WHERE outcome = 'happened' AND settled_at IS NULL AND parked_at IS NULL;

-- What metering refused to settle. Holds no row while all is well.
CREATE INDEX billable_event_parked ON billable_event (parked_at, hold_id) WHERE parked_at IS NOT NULL;

CREATE TABLE idempotency_key (
    client_id text NOT NULL,
    -- The user that a user token acts for; empty for a client token.
    user_id text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    plan_play_id uuid NOT NULL,
    -- The body of the first response, which every later one repeats.
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (client_id, user_id, key),
    CONSTRAINT idempotency_key_plan_play_key UNIQUE (plan_play_id),
    CONSTRAINT idempotency_key_plan_play_fkey FOREIGN KEY (plan_play_id) REFERENCES plan_play (id) ON DELETE CASCADE
);
