-- What the two Node.js services of the same work keep: metering's part, then, after the line of dashes, activity's.
CREATE TABLE account (
  client_id text PRIMARY KEY, granted bigint NOT NULL, spent bigint NOT NULL DEFAULT 0, held bigint NOT NULL DEFAULT 0,
  CHECK (spent + held <= granted)
) WITH (fillfactor = 50);
CREATE TABLE hold (
  hold_id uuid PRIMARY KEY, event_id text UNIQUE NOT NULL, client_id text NOT NULL, credits bigint NOT NULL,
  held_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ledger (
  entry_id bigserial PRIMARY KEY, client_id text NOT NULL, event_id text UNIQUE NOT NULL, hold_id uuid NOT NULL,
  credits bigint NOT NULL, at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ledger (client_id, entry_id);
-- ----
CREATE TABLE plan_play (
  id uuid PRIMARY KEY, client_id text NOT NULL, user_id text, plan_id text NOT NULL, status text NOT NULL,
  planned_lessons text[] NOT NULL, current_lesson_index int NOT NULL DEFAULT 0, email text,
  created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, completed_at timestamptz, fingerprint bytea
);
CREATE INDEX ON plan_play (client_id, created_at DESC);
CREATE INDEX ON plan_play (client_id, user_id, created_at DESC);
CREATE TABLE outbox (
  hold_id uuid PRIMARY KEY, event_id text NOT NULL, client_id text NOT NULL, created_at timestamptz NOT NULL
);
