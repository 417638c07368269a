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
--
-- Ids are compared and sorted by their bytes (COLLATE "C"), the same on every server whatever its locale.
CREATE TABLE account (
  client_id text COLLATE "C" NOT NULL,
  policy_id text,                            -- null: the configured default
  granted bigint NOT NULL DEFAULT 0,         -- grants and adjustments, in credits
  spent bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  late_spent bigint NOT NULL DEFAULT 0,      -- the part of spent that was charged without having been held
  last_at timestamptz NOT NULL,              -- the moment of the last decision; no later one is before it
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
) WITH (fillfactor = 50);                    -- room to change a row in its own page

-- A hold lives while it is held. Settled, it moves into its ledger line. Released, its row stays as a tombstone, an id
-- with the event it was for, as long as a late authorize of it may arrive (METERING_HOLD_RETENTION_SECONDS).
CREATE TABLE hold (
  client_id text COLLATE "C" NOT NULL,
  hold_id uuid NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  released_at timestamptz,                   -- null while it is held; of a tombstone all below is null
  service text,                              -- the name of the service key that made it, and that may settle it
  event_type text,
  user_id text,                              -- '' where the person was erased; null: an event without a user
  units bigint,
  credits bigint,
  counted_on date,                           -- the UTC day in whose quota it counts
  held_at timestamptz,
  resolve_by timestamptz,                    -- when its caller has settled or released it, unless it is away
  policy_id text,                            -- the terms, and what stood before at each limit: the receipt
  policy_version integer,
  rate_used integer,
  taken_before bigint,
  available_before bigint,
  would_refuse text,                         -- in shadow mode: the code that it would have been denied with
  CONSTRAINT hold_pkey PRIMARY KEY (client_id, hold_id),
  CONSTRAINT hold_whole CHECK (
    released_at IS NOT NULL
    OR num_nulls(service, event_type, units, credits, counted_on, held_at, resolve_by, policy_id, policy_version) = 0),
  CONSTRAINT hold_amounts CHECK (units > 0 AND credits >= 0)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Both of live holds, each said in words of its own, which only the look-ups that are meant for it repeat: an index that
-- "released_at IS NULL" lets in would be walked from end to end for any other look-up, by a plan from when the table was
-- empty. An event has one live hold at most.
CREATE UNIQUE INDEX hold_event_once ON hold (client_id, event_id) WHERE event_type IS NOT NULL;
CREATE INDEX hold_by_age ON hold (held_at, hold_id) WHERE held_at IS NOT NULL;

-- What happened to credits, one line a fact, never changed. A spend keeps what its receipt says.
CREATE TABLE ledger_entry (
  client_id text COLLATE "C" NOT NULL,
  entry_id bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL,
  credits bigint NOT NULL,                   -- signed: a spend is negative, or 0 for a free event
  at timestamptz NOT NULL,
  event_id text COLLATE "C",
  event_type text,
  user_id text,                              -- '' where the person was erased
  units bigint,
  hold_id uuid,
  service text,
  counted_on date,
  held_at timestamptz,                       -- null of a fact that was charged without a live hold
  happened_at timestamptz,                   -- of such a fact, as its caller told it
  late_credits bigint,                       -- the part charged without having been held; null: none, all was held
  policy_id text,
  policy_version integer,
  rate_used integer,
  taken_before bigint,
  available_before bigint,
  would_refuse text,
  reference text,                            -- the caller's id of a grant or an adjustment
  source text,
  note text,
  -- Entries of one client are numbered under its account's lock, so this order is that in which they became visible.
  CONSTRAINT ledger_entry_pkey PRIMARY KEY (client_id, entry_id),
  CONSTRAINT ledger_entry_kind CHECK (
    (kind = 'spend' AND credits <= 0
     AND num_nulls(event_id, event_type, units, hold_id, service, counted_on, policy_id, policy_version) = 0)
    OR (kind = 'grant' AND credits > 0 AND reference IS NOT NULL)
    OR (kind = 'adjust' AND credits <> 0 AND reference IS NOT NULL))
);
-- Leads with the event, not with the client: charges are listed in the order of event ids, so that a caller can merge
-- them with a list of its own.
CREATE UNIQUE INDEX ledger_entry_event_once ON ledger_entry (event_id, client_id) WHERE kind = 'spend';
CREATE UNIQUE INDEX ledger_entry_reference_once ON ledger_entry (client_id, kind, reference) WHERE kind <> 'spend';

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
