-- What metering_client needs in the database of the service that uses it.
--
-- Where two processes run this at once, one waits, and finds it done.
SELECT pg_advisory_xact_lock(hashtext('metering_client'));

-- Outbox and fence at once. The primary key decides between a request that commits its fact and whoever takes its hold
-- for lost: one of them writes the row, the other finds it. A row that says 'happened' stays until metering has charged
-- it; one that says 'abandoned' for as long as its attempt might still come back. No index but the key: the table is
-- small.
CREATE TABLE IF NOT EXISTS billable_event (
    hold_id uuid NOT NULL,
    event_id text NOT NULL,
    outcome text NOT NULL,
    client_id text NOT NULL,
    event_type text NOT NULL,
    user_id text,
    units bigint NOT NULL,
    created_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    parked_at timestamptz,
    last_error text,
    -- Of the request that made it, for the logs and traces of whoever has it charged.
    request_id text,
    traceparent text,
    CONSTRAINT billable_event_pkey PRIMARY KEY (hold_id),
    CONSTRAINT billable_event_outcome CHECK (outcome IN ('happened', 'abandoned')),
    CONSTRAINT billable_event_units CHECK (units >= 0)
) WITH (
    -- Every row is soon deleted: to be vacuumed by number, not by share.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1
);

-- The one clock of leases, retries and ages.
CREATE OR REPLACE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
