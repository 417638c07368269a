-- Let the rest of the transaction see the rows of one client, and return it: what row-level security is told of who
-- is asking (service_chassis/database/tenancy.py). Refused where it does not hold, or holds for nobody in particular:
-- a connection pooler can hand out, at any time, a session that is not the one whose role was verified.
CREATE FUNCTION act_for(client_id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT row_security_active('plan_play'::regclass) OR current_setting('app.all_clients', true) = 'on' THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('%s may not act for one client: row-level security does not hold it to that one', current_user);
    END IF;
    RETURN set_config('app.client_id', client_id, true);
END
$$;
