-- Return what so many events, units and credits take of a quota that counts one of them.
CREATE FUNCTION count_for(p_counts text, p_events bigint, p_units bigint, p_credits bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
  SELECT CASE p_counts WHEN 'events' THEN p_events WHEN 'units' THEN p_units ELSE p_credits END
$$;
