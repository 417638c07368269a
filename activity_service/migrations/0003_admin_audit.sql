-- Who changed what: erased a person, or had sent again what was not charged.
--
-- Why: a change by an operator leaves its line in each of the services, in the transaction that makes it.
-- Lock: none on what there is.

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

-- Whoever takes over the service can add to the trail, and take nothing out of it.
GRANT SELECT, INSERT ON admin_audit TO activity_service;
