-- Clients and their secrets, their plans, and the keys that sign access tokens.
--
-- Why: the first version of this database.
-- Lock: none that anybody waits for; every table is new.

CREATE TABLE client (
    client_id text NOT NULL,
    name text NOT NULL,
    may_read_all_clients boolean NOT NULL DEFAULT false,
    disabled_at timestamptz,
    -- Grows with every change of the client's plans, in the same transaction: whoever has encoded the plans of
    -- one version knows by it whether they are still the present ones.
    plans_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT client_pkey PRIMARY KEY (client_id),
    CONSTRAINT client_id_shape CHECK (client_id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$')
);

-- Secrets are 256 random bits: nothing can be guessed, so one round of SHA-256 hides them as well as a slow hash.
CREATE TABLE client_secret (
    client_id text NOT NULL,
    secret_id text NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while it is not told to end; set on the one before when it is rotated.
    expires_at timestamptz,
    -- To the hour, so that few tokens write.
    last_used_at timestamptz,
    CONSTRAINT client_secret_pkey PRIMARY KEY (client_id, secret_id),
    CONSTRAINT client_secret_sha256_key UNIQUE (client_id, sha256),
    CONSTRAINT client_secret_client_fkey FOREIGN KEY (client_id) REFERENCES client (client_id),
    CONSTRAINT client_secret_sha256_length CHECK (octet_length(sha256) = 32)
);

CREATE TABLE plan (
    client_id text NOT NULL,
    plan_id text NOT NULL,
    plan_name text NOT NULL,
    description text NOT NULL,
    collection_id text NOT NULL,
    color text NOT NULL,
    associated_documents jsonb NOT NULL DEFAULT '[]',
    associated_supplemental_benefits jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT plan_pkey PRIMARY KEY (client_id, plan_id),
    CONSTRAINT plan_client_fkey FOREIGN KEY (client_id) REFERENCES client (client_id),
    CONSTRAINT plan_documents_array CHECK (jsonb_typeof(associated_documents) = 'array'),
    CONSTRAINT plan_benefits_array CHECK (jsonb_typeof(associated_supplemental_benefits) = 'array')
);

CREATE INDEX plan_by_collection ON plan (client_id, collection_id);

-- When a key is published and when it signs follows from its times alone, so that every process agrees.
CREATE TABLE signing_key (
    kid text NOT NULL,
    private_pem text NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    -- Null while no younger key has taken over.
    published_until timestamptz,
    CONSTRAINT signing_key_pkey PRIMARY KEY (kid)
);

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
