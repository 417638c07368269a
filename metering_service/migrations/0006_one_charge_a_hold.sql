-- depends: 0005_erased_users
-- A hold pays for one fact, also when two processes are told at the same moment, of two clients, that it was used: their
-- account locks do not meet, and the second would take the hold, just charged, for the released one it had read.
-- Locks: ledger_entry for writing, for as long as the index takes to build.
CREATE UNIQUE INDEX ledger_entry_hold_once ON ledger_entry (hold_id) WHERE kind = 'spend';
