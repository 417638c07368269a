
-- Your facts: what your own rows say happened, one row for each billable fact. Metering's books are held against it.
-- The casts keep its shape, whatever the columns of your query are: so it can be replaced by another query.
CREATE OR REPLACE VIEW billable_fact AS
    SELECT event_id::text, client_id::text, event_type::text, user_id::text, units::bigint, at::timestamptz
    FROM (
        {facts}
    ) AS fact (event_id, client_id, event_type, user_id, units, at);

-- Asked before a hold is given up.
CREATE OR REPLACE FUNCTION billable_fact_exists(p_client_id text, p_event_id text) RETURNS boolean
    LANGUAGE sql STABLE
    AS 'SELECT EXISTS (SELECT FROM billable_fact WHERE client_id = p_client_id AND event_id = p_event_id)';
