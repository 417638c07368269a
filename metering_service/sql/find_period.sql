-- Return the start and the end of the period that `p_moment` falls in: hour, day, week (from Monday), month or year,
-- UTC.
--
-- With `p_anchor` periods are counted from that moment on: of months and years the same day and time, or a shorter
-- month's last day, and after it the anchor's day again.
CREATE FUNCTION find_period(
  p_period text, p_anchor timestamptz, p_moment timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  v_anchor timestamp := p_anchor AT TIME ZONE 'UTC';
  v_moment timestamp := p_moment AT TIME ZONE 'UTC';
  v_length interval := ('1 ' || p_period)::interval;
  v_start timestamp;
  v_nth integer;
BEGIN
  IF p_anchor IS NULL THEN
    v_start := date_trunc(p_period, v_moment);
    starts_at := v_start AT TIME ZONE 'UTC';
    ends_at := (v_start + v_length) AT TIME ZONE 'UTC';
    RETURN;
  END IF;
  -- Always from the anchor itself: from a 28th no way leads back to the 31st.
  IF p_period IN ('month', 'year') THEN
    v_nth := (extract(year FROM v_moment) - extract(year FROM v_anchor)) * 12
             + extract(month FROM v_moment) - extract(month FROM v_anchor);
    IF p_period = 'year' THEN
      v_nth := floor(v_nth / 12.0);
    END IF;
  ELSE
    v_nth := floor(extract(epoch FROM v_moment - v_anchor) / extract(epoch FROM v_length));
  END IF;
  IF v_anchor + v_nth * v_length > v_moment THEN
    v_nth := v_nth - 1;
  END IF;
  starts_at := (v_anchor + v_nth * v_length) AT TIME ZONE 'UTC';
  ends_at := (v_anchor + (v_nth + 1) * v_length) AT TIME ZONE 'UTC';
END
$$;
