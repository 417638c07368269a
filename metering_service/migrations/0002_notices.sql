-- Notices about quotas, credits, refusals and grants that expire, and what becomes of sending them.
--
-- Why: a provider is told when a client reaches a threshold, once, by a webhook that is not lost.
-- Lock: none that anybody waits for; the tables are new, and a column without a default changes no row of hold.

-- What is to be told, once for as long as it is true: for a period of a quota, of refusals; of a grant, ever; of a balance,
-- until it was above the threshold again. Written by whoever makes it true, in the same transaction.
CREATE TABLE notice (
  notice_id uuid NOT NULL DEFAULT gen_random_uuid(),
  client_id text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  key text COLLATE "C" NOT NULL,             -- what it is about: a counter, so a period; a code, a limit and a period; a grant
  threshold numeric NOT NULL,                -- a fraction of a quota's limit, or credits; 0 where there is none
  user_id text COLLATE "C",                  -- of a quota per user; '' where the person was erased
  at timestamptz NOT NULL,
  ends_at timestamptz,                       -- when its period or its grant ends; of a balance, when it had risen, null until then
  is_over boolean NOT NULL DEFAULT false,    -- the balance rose above the threshold, and may fall below it again
  data jsonb NOT NULL,                       -- what else is told, as it is sent
  is_addressed boolean NOT NULL DEFAULT false, -- each receiver that was configured then has its row of webhook
  CONSTRAINT notice_pkey PRIMARY KEY (notice_id),
  CONSTRAINT notice_kind CHECK (kind IN ('quota', 'balance', 'refusal', 'expiry'))
);
CREATE UNIQUE INDEX notice_once ON notice (client_id, kind, key, threshold) WHERE NOT is_over;
CREATE INDEX notice_by_time ON notice (at, notice_id);
CREATE INDEX notice_to_address ON notice (at) WHERE NOT is_addressed;

-- A notice on its way to one receiver. next_attempt_at is when it is sent, or, while it is being sent, when another process may
-- send it; null: delivered, or dead.
CREATE TABLE webhook (
  notice_id uuid NOT NULL,
  receiver text COLLATE "C" NOT NULL,        -- by its name in METERING_WEBHOOKS
  created_at timestamptz NOT NULL,
  next_attempt_at timestamptz,
  attempts integer NOT NULL DEFAULT 0,       -- that failed
  last_error text,
  delivered_at timestamptz,
  dead_at timestamptz,                       -- given up, until somebody has it sent again
  CONSTRAINT webhook_pkey PRIMARY KEY (notice_id, receiver),
  CONSTRAINT webhook_notice_fkey FOREIGN KEY (notice_id) REFERENCES notice (notice_id) ON DELETE CASCADE,
  CONSTRAINT webhook_state CHECK (num_nonnulls(next_attempt_at, delivered_at, dead_at) = 1)
);
CREATE INDEX webhook_due ON webhook (receiver, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_dead ON webhook (dead_at) WHERE dead_at IS NOT NULL;

-- Of a hold: its policy version has thresholds. So a charge of one without any looks for none.
ALTER TABLE hold ADD COLUMN has_thresholds boolean;

-- Grants that somebody is to be told of before they expire: those that come again are not among them.
CREATE INDEX credit_grant_by_expiry ON credit_grant (expires_at, client_id, number) WHERE state = 'live' AND recurring_id IS NULL;
