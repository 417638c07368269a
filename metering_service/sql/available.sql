-- Return what a client can still spend: `a.available` of a row of account, too. The planner puts this text in its
-- place.
CREATE FUNCTION available(a account) RETURNS bigint LANGUAGE sql IMMUTABLE
AS 'SELECT a.granted + a.adjusted - a.expired - a.spent - a.held';
