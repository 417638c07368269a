
-- Your facts: what your own rows say happened, one row for each billable fact. Metering's books are held against it.
CREATE OR REPLACE VIEW billable_fact (event_id, client_id, event_type, user_id, units, at) AS
    {facts};

-- Asked before a hold is given up.
CREATE OR REPLACE FUNCTION billable_fact_exists(p_client_id text, p_event_id text) RETURNS boolean
    LANGUAGE sql STABLE
    AS 'SELECT EXISTS (SELECT FROM billable_fact WHERE client_id = p_client_id AND event_id = p_event_id)';
