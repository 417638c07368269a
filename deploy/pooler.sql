-- The logins of the services behind a pooler that shares sessions, such as PgBouncer in transaction mode: what their
-- sessions begin with elsewhere, role and settings, comes with the login here (docs/operations/deployment.md).
--
-- Once, as a superuser, after the three `migrate`, and again with each new version; then RECONNECT in the pooler, which
-- keeps the sessions from before. Passwords: \password catalog_requests, and so on. It changes nothing else.
DO $$
DECLARE
    login record;
    setting record;
BEGIN
    FOR login IN
        SELECT * FROM (VALUES
            -- name                database    acts as
            ('catalog_requests',   'catalog',  'catalog_service'),
            ('activity_requests',  'activity', 'activity_service'),
            ('activity_shared',    'activity', 'activity_service'),
            ('metering_others',    'metering', 'metering'),
            ('metering_charging',  'metering', 'metering')
        ) AS logins (name, database, role)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login.name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', login.name);
        END IF;
        EXECUTE format('GRANT %I TO %I', login.role, login.name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', login.database, login.name);
        EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', login.name, login.database);
        FOR setting IN
            SELECT 'role' AS name, login.role AS value
            UNION ALL
            SELECT name, value FROM (VALUES
                -- whose                            name                                    value
                ('.*',                              'statement_timeout',                    '4000'),
                ('.*',                              'idle_in_transaction_session_timeout',  '10000'),
                ('.*',                              'synchronous_commit',                   'on'),
                ('.*',                              'timezone',                             'UTC'),
                ('.*',                              'default_transaction_isolation',        'read committed'),
                ('.*',                              'row_security',                         'on'),
                ('.*',                              'jit',                                  'off'),
                ('.*_(requests|shared|others)',     'lock_timeout',                         '3000'),
                ('metering_charging',               'lock_timeout',                         '200'),
                ('activity_.*|metering_charging',   'enable_seqscan',                       'off'),
                ('activity_.*|metering_charging',   'enable_bitmapscan',                    'off'),
                ('activity_.*|metering_charging',   'plan_cache_mode',                      'force_generic_plan'),
                ('metering_charging',               'enable_material',                      'off'),
                ('metering_charging',               'enable_hashjoin',                      'off'),
                ('metering_charging',               'enable_mergejoin',                     'off'),
                ('activity_shared',                 'app.all_clients',                      'on')
            ) AS settings (whose, name, value)
            WHERE login.name ~ ('^(' || whose || ')$')
        LOOP
            EXECUTE format(
                'ALTER ROLE %I IN DATABASE %I SET %s = %L', login.name, login.database, setting.name, setting.value
            );
        END LOOP;
    END LOOP;
END
$$;
