-- What the peers keep: a balance for each client, and a row for each use, by the request's unique id.
CREATE TABLE account (
  client_id text PRIMARY KEY,
  balance bigint NOT NULL CHECK (balance >= 0)
);
CREATE TABLE usage (
  request_id text PRIMARY KEY,
  client_id text NOT NULL,
  plan_id text NOT NULL,
  credits bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
