-- Return whether any client has this play: another client's play is denied and an unknown one is not found, so this
-- much may be asked of any id, past the isolation of clients (migrations/0002_row_security.sql).
CREATE FUNCTION plan_play_exists(wanted uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
    AS 'SELECT EXISTS (SELECT FROM public.plan_play WHERE id = wanted)';
REVOKE ALL ON FUNCTION plan_play_exists(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION plan_play_exists(uuid) TO activity_service;
