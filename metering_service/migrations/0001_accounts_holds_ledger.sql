-- What metering knows: policies and their versions, one account per client, holds, and the ledger.
--
-- Why: the first version of this database.
-- Lock: none that anybody waits for; every table is new.

CREATE TABLE policy_version (
  policy_id text NOT NULL,
  version integer NOT NULL,
  rate_limit integer,
  rate_period_seconds integer,
  rate_burst integer,
  quota_limit bigint,
  quota_period text,
  prices jsonb NOT NULL,
  credits text NOT NULL,
  mode text NOT NULL,
  created_at timestamptz NOT NULL,
  CONSTRAINT policy_version_pkey PRIMARY KEY (policy_id, version),
  CONSTRAINT policy_version_rate CHECK (
    num_nulls(rate_limit, rate_period_seconds, rate_burst) = 3
    OR (rate_limit > 0 AND rate_period_seconds > 0 AND rate_burst > 0)),
  CONSTRAINT policy_version_quota CHECK (
    num_nulls(quota_limit, quota_period) = 2
    OR (quota_limit >= 0 AND quota_period IN ('day', 'month'))),
  CONSTRAINT policy_version_credits CHECK (credits IN ('prepaid', 'unlimited')),
  CONSTRAINT policy_version_mode CHECK (mode IN ('enforce', 'shadow'))
);

-- Which version of a policy is the current one.
CREATE TABLE policy (
  policy_id text NOT NULL,
  version integer NOT NULL,
  CONSTRAINT policy_pkey PRIMARY KEY (policy_id),
  CONSTRAINT policy_version_fkey FOREIGN KEY (policy_id, version) REFERENCES policy_version (policy_id, version)
);

-- Everything that a decision about a client needs, in one row, so that one row lock makes it exact.
CREATE TABLE account (
  client_id text NOT NULL,
  policy_id text,                            -- null: the configured default
  granted bigint NOT NULL DEFAULT 0,         -- grants and adjustments, in credits
  spent bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  late_spent bigint NOT NULL DEFAULT 0,      -- the part of spent that was charged without a live hold
  counted_on date NOT NULL,                  -- the UTC day the four counters below belong to; moves forward only
  day_used bigint NOT NULL DEFAULT 0,        -- events charged and events held, of that day and of its month
  day_held bigint NOT NULL DEFAULT 0,
  month_used bigint NOT NULL DEFAULT 0,
  month_held bigint NOT NULL DEFAULT 0,
  CONSTRAINT account_pkey PRIMARY KEY (client_id),
  CONSTRAINT account_policy_fkey FOREIGN KEY (policy_id) REFERENCES policy (policy_id),
  CONSTRAINT account_amounts CHECK (granted >= 0 AND spent >= 0 AND held >= 0 AND late_spent >= 0),
  CONSTRAINT account_counters CHECK (day_used >= 0 AND day_held >= 0 AND month_used >= 0 AND month_held >= 0),
  -- Never oversold. Only a fact that happened without a live hold may go beyond, and it is counted.
  CONSTRAINT account_available CHECK (granted + late_spent - spent - held >= 0)
);

-- One attempt at one billable event. A hold that was released before it was ever asked for has an id and nothing else.
CREATE TABLE hold (
  hold_id uuid NOT NULL,
  state text NOT NULL,
  event_id text,
  client_id text,
  event_type text,
  user_id text,                              -- '' where the person was erased; null: an event without a user
  units bigint,
  credits bigint,
  counted_on date,                           -- the UTC day in whose quota it counts
  held_at timestamptz,
  closed_at timestamptz,
  late boolean NOT NULL DEFAULT false,
  receipt jsonb,
  CONSTRAINT hold_pkey PRIMARY KEY (hold_id),
  CONSTRAINT hold_state CHECK (state IN ('held', 'settled', 'released')),
  CONSTRAINT hold_whole CHECK (
    num_nulls(event_id, client_id, event_type, units, credits, counted_on) = 0
    OR (state = 'released' AND num_nonnulls(event_id, client_id, event_type, units, credits, counted_on) = 0)),
  CONSTRAINT hold_amounts CHECK (units > 0 AND credits >= 0)
);
-- An event has one live hold at most, and once settled never another.
CREATE UNIQUE INDEX hold_event_once ON hold (event_id) WHERE state IN ('held', 'settled');
CREATE INDEX hold_by_age ON hold (held_at, hold_id) WHERE state = 'held';
CREATE INDEX hold_released_event ON hold (event_id, held_at) WHERE state = 'released' AND event_id IS NOT NULL;

-- What happened to credits, one line a fact, never changed.
CREATE TABLE ledger_entry (
  entry_id bigint GENERATED ALWAYS AS IDENTITY,
  client_id text NOT NULL,
  kind text NOT NULL,
  credits bigint NOT NULL,                   -- signed: a spend is negative, or 0 for a free event
  event_id text,
  event_type text,
  hold_id uuid,
  counted_on date,
  late boolean NOT NULL DEFAULT false,
  reference text,                            -- the caller's id of a grant or an adjustment
  source text,
  note text,
  at timestamptz NOT NULL,
  CONSTRAINT ledger_entry_pkey PRIMARY KEY (entry_id),
  CONSTRAINT ledger_entry_kind CHECK (
    (kind = 'spend' AND credits <= 0 AND num_nulls(event_id, event_type, hold_id, counted_on) = 0)
    OR (kind = 'grant' AND credits > 0 AND reference IS NOT NULL)
    OR (kind = 'adjust' AND credits <> 0 AND reference IS NOT NULL))
);
-- Charges are listed by event id in the order of its bytes, the same on every server whatever its locale, so that a
-- caller can merge them with a list of its own. The unique index serves both; equality is by bytes either way.
CREATE UNIQUE INDEX ledger_entry_event_once ON ledger_entry (event_id COLLATE "C") WHERE kind = 'spend';
-- A hold pays for one fact, also when two processes are told at the same moment, of two clients, that it was used: their
-- account locks do not meet, and the second would take the hold, just charged, for the released one it had read.
CREATE UNIQUE INDEX ledger_entry_hold_once ON ledger_entry (hold_id) WHERE kind = 'spend';
CREATE UNIQUE INDEX ledger_entry_reference_once ON ledger_entry (client_id, kind, reference) WHERE kind <> 'spend';
-- Entries of one client are numbered under its account's lock, so this order is the order in which they became visible.
CREATE INDEX ledger_entry_by_client ON ledger_entry (client_id, entry_id);

CREATE TABLE admin_audit (
  audit_id bigint GENERATED ALWAYS AS IDENTITY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  detail jsonb NOT NULL,
  CONSTRAINT admin_audit_pkey PRIMARY KEY (audit_id)
);

-- The policy of a client that has none assigned, unless METERING_DEFAULT_POLICY names another.
INSERT INTO policy_version (policy_id, version, rate_limit, rate_period_seconds, rate_burst, prices, credits, mode, created_at)
VALUES ('free', 1, 60, 60, 100, '{}', 'unlimited', 'enforce', now());
INSERT INTO policy (policy_id, version) VALUES ('free', 1);
