-- Return the database's present moment: the one clock of leases, retries and ages here. Only tests replace it.
CREATE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
