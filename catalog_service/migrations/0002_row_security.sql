-- The second wall between clients: the service acts as a role that owns nothing, and sees the plans of one client at
-- a time (service_chassis/database/tenancy.py).
--
-- Why: a statement that forgets its client must find nothing, not everybody's plans.
-- Lock: ACCESS EXCLUSIVE on `plan`, for as long as changing its catalog entry takes.

-- The role is there: `migrate` makes it, or says what a superuser must run (service_chassis/database/migrations.py).
GRANT USAGE ON SCHEMA public TO catalog_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON client, client_secret, plan, signing_key TO catalog_service;
-- Whoever takes over the service can add to the trail, and take nothing out of it.
GRANT SELECT, INSERT ON admin_audit TO catalog_service;
GRANT SELECT ON _yoyo_migration TO catalog_service;

-- Only plans: `client` and `client_secret` say who a caller is, so they are read before anybody is anybody.
ALTER TABLE plan ENABLE ROW LEVEL SECURITY;

-- Unset, the setting is null or empty, and no client has an empty id.
CREATE POLICY one_client ON plan TO catalog_service
    USING (client_id = nullif(current_setting('app.client_id', true), ''));
