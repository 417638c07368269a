-- Return the database's present moment: the one clock of quota, credits and holds. Only tests replace it.
CREATE FUNCTION utc_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
