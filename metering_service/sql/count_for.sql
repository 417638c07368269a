-- Return what an event of so many units and credits takes of a quota that counts events, units or credits.
CREATE FUNCTION count_for(p_counts text, p_units bigint, p_credits bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$
  SELECT CASE p_counts WHEN 'events' THEN 1 WHEN 'units' THEN p_units ELSE p_credits END
$$;
