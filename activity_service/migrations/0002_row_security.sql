-- The second isolation between clients: the service acts as a role that owns nothing, and sees the rows of one client at
-- a time (service_chassis/database/tenancy.py).
--
-- Why: a statement that forgets its client must find nothing, not everybody's plays.
-- Lock: ACCESS EXCLUSIVE on two tables, for as long as changing their catalog entries takes.

-- The role is there: `migrate` makes it, or says what a superuser must run (service_chassis/database/migrations.py).
GRANT USAGE ON SCHEMA public TO activity_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_play, billable_event TO activity_service;
GRANT SELECT ON _yoyo_migration TO activity_service;

ALTER TABLE plan_play ENABLE ROW LEVEL SECURITY;
ALTER TABLE billable_event ENABLE ROW LEVEL SECURITY;

-- Unset, the setting is null or empty, and no client has an empty id.
CREATE POLICY one_client ON plan_play TO activity_service
    USING (client_id = nullif(current_setting('app.client_id', true), ''));
CREATE POLICY one_client ON billable_event TO activity_service
    USING (client_id = nullif(current_setting('app.client_id', true), ''));

-- For connections opened for shared batches, the relay, the sweeper and audits.
CREATE POLICY all_clients ON plan_play TO activity_service
    USING (current_setting('app.all_clients', true) = 'on');
CREATE POLICY all_clients ON billable_event TO activity_service
    USING (current_setting('app.all_clients', true) = 'on');
