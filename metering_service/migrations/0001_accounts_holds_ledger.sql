-- What metering knows: policies and their versions, one account per client, counters, holds, and the ledger.
--
-- Why: the first version of this database.
-- Lock: none that anybody waits for; every table is new.

CREATE TABLE policy (
  policy_id text NOT NULL,
  CONSTRAINT policy_pkey PRIMARY KEY (policy_id)
);

-- The current version of a policy is the one that became effective last.
CREATE TABLE policy_version (
  policy_id text NOT NULL,
  version integer NOT NULL,
  terms jsonb NOT NULL,                      -- as PolicySchema loads them
  created_at timestamptz NOT NULL,
  effective_at timestamptz NOT NULL,
  CONSTRAINT policy_version_pkey PRIMARY KEY (policy_id, version),
  CONSTRAINT policy_version_policy_fkey FOREIGN KEY (policy_id) REFERENCES policy (policy_id)
);
CREATE INDEX policy_version_by_effect ON policy_version (policy_id, effective_at, version);

-- Everything that a decision about a client's credits needs, in one row, so that one row lock makes it exact. The lock is
-- also that of the client's counters, holds and assignments.
--
-- Ids are compared and sorted by their bytes (COLLATE "C"), the same on every server whatever its locale.
CREATE TABLE account (
  client_id text COLLATE "C" NOT NULL,
  granted bigint NOT NULL DEFAULT 0,         -- grants and refunds that are effective, in credits
  adjusted bigint NOT NULL DEFAULT 0,        -- corrections, up and down
  spent bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  expired bigint NOT NULL DEFAULT 0,         -- what was left of grants when they expired or were voided
  laid bigint NOT NULL DEFAULT 0,            -- the part of spent that was taken from its grants in their order already
  pinned_spent bigint NOT NULL DEFAULT 0,    -- the part of spent that was paid by grants that had ended (credit_pin)
  late_spent bigint NOT NULL DEFAULT 0,      -- the part of spent that was charged without having been held
  overdraft bigint NOT NULL DEFAULT 0,       -- the largest that a policy allowed when it was drawn on
  last_at timestamptz NOT NULL,              -- the moment of the last decision; no later one is before it
  -- When a grant becomes effective, expires or comes again: until then all grants are one sum (sql/move_account.sql).
  next_moment timestamptz NOT NULL DEFAULT 'infinity',
  CONSTRAINT account_pkey PRIMARY KEY (client_id),
  CONSTRAINT account_amounts CHECK (
    granted >= 0 AND spent >= 0 AND held >= 0 AND expired >= 0 AND late_spent >= 0 AND overdraft >= 0
    AND laid >= 0 AND pinned_spent >= 0 AND laid + pinned_spent <= spent),
  -- Never oversold. Only a fact that happened without a live hold, and an overdraft, may go beyond, and both are counted.
  CONSTRAINT account_available CHECK (granted + adjusted - expired + late_spent + overdraft - spent - held >= 0)
) WITH (fillfactor = 50);                    -- room to change a row in its own page
CREATE INDEX account_by_moment ON account (next_moment) WHERE next_moment < 'infinity';

-- Credits that a client was given: a grant, a refund or a correction up. Drawn in the order of priority, soonest expiry, age.
-- What is remaining stands as of the account's last moment: what was spent since is taken from it at the next one.
CREATE TABLE credit_grant (
  client_id text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  grant_id text COLLATE "C" NOT NULL,        -- the caller's; of a recurring grant its id and the start of the period
  number bigint GENERATED ALWAYS AS IDENTITY,
  recurring_id text COLLATE "C",
  event_id text COLLATE "C",                 -- of a refund: whose charge it gives back
  credits bigint NOT NULL,
  effective_at timestamptz NOT NULL,
  expires_at timestamptz,                    -- null: never
  priority smallint NOT NULL,                -- 0 first
  source text,
  note text,
  actor text NOT NULL,
  created_at timestamptz NOT NULL,
  state text NOT NULL,
  remaining bigint NOT NULL,
  pinned bigint NOT NULL DEFAULT 0,          -- of one that ended: what holds that lay on it may still spend
  lapsed bigint NOT NULL DEFAULT 0,          -- of one that ended: what nobody can spend any more
  CONSTRAINT credit_grant_pkey PRIMARY KEY (client_id, kind, grant_id),
  CONSTRAINT credit_grant_number_once UNIQUE (client_id, number),
  CONSTRAINT credit_grant_kind CHECK (kind IN ('grant', 'refund', 'adjust')),
  CONSTRAINT credit_grant_state CHECK (state IN ('booked', 'cancelled', 'live', 'used', 'expired', 'voided')),
  CONSTRAINT credit_grant_amounts CHECK (
    credits > 0 AND remaining >= 0 AND pinned >= 0 AND lapsed >= 0 AND remaining + pinned + lapsed <= credits),
  CONSTRAINT credit_grant_times CHECK (expires_at > effective_at)
);
CREATE INDEX credit_grant_open ON credit_grant (client_id, priority, expires_at, effective_at, number)
  WHERE state IN ('booked', 'live');
CREATE INDEX credit_grant_refunds ON credit_grant (client_id, event_id) WHERE kind = 'refund';
CREATE INDEX credit_grant_by_recurring ON credit_grant (client_id, recurring_id, expires_at) WHERE recurring_id IS NOT NULL;

-- Grants that come again: each period's exists once, whether anybody asked for the account at that time or not.
CREATE TABLE recurring_grant (
  client_id text COLLATE "C" NOT NULL,
  recurring_id text COLLATE "C" NOT NULL,
  credits bigint NOT NULL,
  every text NOT NULL,                       -- day, week, month or year, counted from starts_at
  starts_at timestamptz NOT NULL,
  ends_at timestamptz,                       -- no period begins then or later; null: no end
  expires_with_period boolean NOT NULL,
  rollover_max bigint,                       -- so much of what is left at most goes over into the next; null: none
  priority smallint NOT NULL,
  actor text NOT NULL,
  next_at timestamptz NOT NULL,              -- the start of the first period whose grant is not made
  CONSTRAINT recurring_grant_pkey PRIMARY KEY (client_id, recurring_id),
  CONSTRAINT recurring_grant_amounts CHECK (credits > 0 AND rollover_max > 0)
);

-- What a hold may still spend of a grant that ended while the hold lay on it, and, once it is settled, what it did spend.
CREATE TABLE credit_pin (
  client_id text COLLATE "C" NOT NULL,
  hold_id uuid NOT NULL,
  number bigint NOT NULL,                    -- of the grant
  credits bigint NOT NULL,
  paid bigint,                               -- null while it is held
  CONSTRAINT credit_pin_pkey PRIMARY KEY (client_id, hold_id, number),
  CONSTRAINT credit_pin_amounts CHECK (credits > 0 AND paid BETWEEN 0 AND credits)
);

-- Which grants paid for what: of all credits that a client ever spent in the order of its ledger, but for those that were
-- pinned, the grant paid `credits` up to the credit `upto`. When it was noted the ledger's last line was `entry_id`, and up to
-- that `entry_position` credits were spent so: from there a charge's place is counted.
CREATE TABLE credit_draw (
  client_id text COLLATE "C" NOT NULL,
  upto bigint NOT NULL,
  number bigint NOT NULL,
  credits bigint NOT NULL,
  entry_id bigint NOT NULL,
  entry_position bigint NOT NULL,
  CONSTRAINT credit_draw_pkey PRIMARY KEY (client_id, upto),
  CONSTRAINT credit_draw_amounts CHECK (credits > 0)
);
CREATE INDEX credit_draw_by_entry ON credit_draw (client_id, entry_id);

-- Which policy a client has from when on, until the next one's start. Without any: the configured default.
CREATE TABLE assignment (
  client_id text COLLATE "C" NOT NULL,
  starts_at timestamptz NOT NULL,
  policy_id text NOT NULL,
  anchored_at timestamptz NOT NULL,          -- from when the periods of quotas are counted that are not the calendar's
  shadow_policy_id text,                     -- decided about the same events, and refusing nothing; null: none
  CONSTRAINT assignment_pkey PRIMARY KEY (client_id, starts_at),
  CONSTRAINT assignment_policy_fkey FOREIGN KEY (policy_id) REFERENCES policy (policy_id),
  CONSTRAINT assignment_shadow_fkey FOREIGN KEY (shadow_policy_id) REFERENCES policy (policy_id)
);

-- What a shadow policy would have let pass in one of its quotas' periods. No money hangs on it: counted after the decisions.
CREATE TABLE shadow_counter (
  policy_id text COLLATE "C" NOT NULL,
  client_id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  rule text COLLATE "C" NOT NULL,
  user_id text COLLATE "C" NOT NULL,         -- '': of the whole client, or of events without a user
  starts_at timestamptz NOT NULL,
  used bigint NOT NULL,
  CONSTRAINT shadow_counter_pkey PRIMARY KEY (client_id, policy_id, name, rule, user_id, starts_at)
);

-- What would have been refused if shadow policies were enforced, and what it was worth by their prices.
CREATE TABLE shadow_refusal (
  policy_id text COLLATE "C" NOT NULL,
  day date NOT NULL,
  client_id text COLLATE "C" NOT NULL,
  code text COLLATE "C" NOT NULL,
  limit_name text COLLATE "C" NOT NULL,      -- '': neither a rate nor a quota
  refused bigint NOT NULL,
  credits bigint NOT NULL,
  CONSTRAINT shadow_refusal_pkey PRIMARY KEY (policy_id, day, client_id, code, limit_name)
);

-- What counts in a quota in one of its periods, charged and held. Goes on while name, rule and user stay the same, whatever
-- becomes of the policy. Changed under the account's lock only.
CREATE TABLE counter (
  client_id text COLLATE "C" NOT NULL,
  counter_id bigint GENERATED ALWAYS AS IDENTITY,
  name text NOT NULL,
  rule text NOT NULL,                        -- what it counts, of whom and of which types, in which periods
  counts text NOT NULL,
  user_id text NOT NULL DEFAULT '',          -- '': of the whole client, or of events without a user
  starts_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  used bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  is_erased boolean NOT NULL DEFAULT false,  -- its user is no longer to be told, and counts anew
  CONSTRAINT counter_pkey PRIMARY KEY (client_id, counter_id),
  CONSTRAINT counter_counts CHECK (counts IN ('events', 'units', 'credits')),
  CONSTRAINT counter_amounts CHECK (used >= 0 AND held >= 0)
) WITH (fillfactor = 50);
CREATE INDEX counter_by_end ON counter (ends_at);   -- never changed in a row, so that counting stays in its page
CREATE UNIQUE INDEX counter_once ON counter (client_id, name, rule, user_id, starts_at) WHERE NOT is_erased;

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
  counted_on date,                           -- the UTC day of the fact
  held_at timestamptz,
  resolve_by timestamptz,                    -- when its caller has settled or released it, unless it is away
  policy_id text,                            -- the terms, and what stood before at each limit: the receipt
  policy_version integer,
  rates_used integer[],                      -- null: none applies, or they were not asked
  counter_ids bigint[],                      -- of the quotas that it counts in, and what was used and held of each
  taken_before bigint[],
  overage bigint[],                          -- the part above each limit; null: none is
  available_before bigint,
  would_refuse text,                         -- in shadow mode: the code that it would have been denied with
  pinned bigint,                             -- the part that is pinned to grants that ended (credit_pin); null: none
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
  pinned_credits bigint,                     -- the part paid by grants that had ended (credit_pin); null: none
  policy_id text,
  policy_version integer,
  rates_used integer[],
  counter_ids bigint[],
  taken_before bigint[],
  overage bigint[],
  available_before bigint,
  would_refuse text,
  reference text,                            -- the caller's id of a grant, an adjustment or a refund
  source text,
  note text,
  actor text,                                -- who gave or took credits: the name of a service key, or how else
  posted_at timestamptz,                     -- of a line that was written later than it took effect
  -- Entries of one client are numbered under its account's lock, so this order is that in which they became visible.
  CONSTRAINT ledger_entry_pkey PRIMARY KEY (client_id, entry_id),
  CONSTRAINT ledger_entry_kind CHECK (
    (kind = 'spend' AND credits <= 0
     AND num_nulls(event_id, event_type, units, hold_id, service, counted_on, policy_id, policy_version) = 0)
    OR (kind = 'grant' AND credits > 0 AND num_nulls(reference, actor) = 0)
    OR (kind = 'refund' AND credits > 0 AND num_nulls(reference, actor, event_id) = 0)
    OR (kind = 'adjust' AND credits <> 0 AND num_nulls(reference, actor) = 0)
    -- What lapses of a grant, at its end and when a hold that was pinned to it gives credits back.
    OR (kind IN ('expire', 'void') AND credits < 0 AND num_nulls(reference, actor) = 0))
);
-- Leads with the event, not with the client: charges are listed in the order of event ids, so that a caller can merge
-- them with a list of its own.
CREATE UNIQUE INDEX ledger_entry_event_once ON ledger_entry (event_id, client_id) WHERE kind = 'spend';
CREATE UNIQUE INDEX ledger_entry_reference_once ON ledger_entry (client_id, kind, reference)
  WHERE kind IN ('grant', 'refund', 'adjust');

-- What one user did, by day.
CREATE INDEX ledger_entry_by_user ON ledger_entry (client_id, user_id, counted_on) WHERE kind = 'spend' AND user_id <> '';

-- What was charged to one client between two moments. Of spends, in words of its own, as the indexes of hold: "kind =
-- 'spend'" would let in the look-up of an event, which then walks through all of its client's.
CREATE INDEX ledger_entry_by_time ON ledger_entry (client_id, at, entry_id) WHERE units IS NOT NULL;

-- What was given to one client and taken from it without an event. Of all but spends, in words of its own, as above.
CREATE INDEX ledger_entry_given ON ledger_entry (client_id, at) WHERE actor IS NOT NULL;

-- Up to when a client's charges have no more than their price: what stood at each limit (rates_used, taken_before, overage,
-- available_before) is forgotten. The lines stay, so that an event is charged once for ever.
CREATE TABLE receipt_forgotten (
  client_id text COLLATE "C" NOT NULL,
  upto timestamptz NOT NULL,
  CONSTRAINT receipt_forgotten_pkey PRIMARY KEY (client_id)
);

-- What was charged, by the UTC day of the fact: the sums of the ledger's spends, kept where those are written.
CREATE TABLE usage (
  client_id text COLLATE "C" NOT NULL,
  day date NOT NULL,
  event_type text NOT NULL,
  charged bigint NOT NULL,
  units bigint NOT NULL,
  credits bigint NOT NULL,
  overage bigint NOT NULL,                   -- above the limits of quotas, in what each of them counts
  last_at timestamptz NOT NULL,
  CONSTRAINT usage_pkey PRIMARY KEY (client_id, day, event_type)
) WITH (fillfactor = 50);
CREATE INDEX usage_by_day ON usage (day, client_id); -- of what no charge changes: a row is still changed in its own page
CREATE INDEX usage_by_type ON usage (event_type);

-- Why events were refused, counted by minute, with the receipts of the first and the last. Forgotten in time (METERING_REFUSAL_RETENTION_DAYS).
CREATE TABLE refusal (
  client_id text COLLATE "C" NOT NULL,
  minute timestamptz NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  code text COLLATE "C" NOT NULL,
  limit_name text COLLATE "C" NOT NULL,      -- '': neither a rate nor a quota
  user_id text COLLATE "C" NOT NULL,         -- '': nobody, or one of many
  refused bigint NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  first_receipt jsonb NOT NULL,
  last_receipt jsonb NOT NULL,
  CONSTRAINT refusal_pkey PRIMARY KEY (client_id, minute, event_type, code, limit_name, user_id)
);
CREATE INDEX refusal_by_age ON refusal (minute);

-- How many events were refused, by UTC day: the sums of refusals, kept where those are written, and not forgotten. Not in
-- usage: its rows are written under the account's lock, which refusals neither take nor wait for.
CREATE TABLE refusal_count (
  client_id text COLLATE "C" NOT NULL,
  day date NOT NULL,
  event_type text NOT NULL,
  code text NOT NULL,
  refused bigint NOT NULL,
  last_at timestamptz NOT NULL,
  CONSTRAINT refusal_count_pkey PRIMARY KEY (client_id, day, event_type, code)
) WITH (fillfactor = 50);
CREATE INDEX refusal_count_by_day ON refusal_count (day, client_id);

CREATE TABLE admin_audit (
  audit_id bigint GENERATED ALWAYS AS IDENTITY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  detail jsonb NOT NULL,
  CONSTRAINT admin_audit_pkey PRIMARY KEY (audit_id)
);
CREATE INDEX admin_audit_by_target ON admin_audit (target, audit_id);

-- Who is logged in to the console, and links that log in once. Here, so that every process knows both, and a session ends
-- when it is told to. The secret itself is only in the browser, or in the link.
CREATE TABLE console_session (
  digest bytea NOT NULL,                     -- SHA-256 of the secret
  kind text NOT NULL,
  key_digest bytea NOT NULL,                 -- of the admin key's own SHA-256: it ends with its key
  expires_at timestamptz NOT NULL,
  CONSTRAINT console_session_pkey PRIMARY KEY (digest),
  CONSTRAINT console_session_kind CHECK (kind IN ('session', 'link'))
);
CREATE INDEX console_session_by_end ON console_session (expires_at);

-- The policy of a client that has none assigned, unless METERING_DEFAULT_POLICY names another.
INSERT INTO policy (policy_id) VALUES ('free');
INSERT INTO policy_version (policy_id, version, terms, created_at, effective_at)
VALUES ('free', 1, '{
  "rates": [{"name": "per minute", "limit": 60, "periodSeconds": 60, "burst": 100, "per": "client", "eventTypes": ["*"]}],
  "quotas": [], "prices": {"*": 0}, "credits": "unlimited", "mode": "enforce"}', now(), '2000-01-01 00:00Z');
