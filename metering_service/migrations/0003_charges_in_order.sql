-- depends: 0002_decisions
-- Charges are listed by event id in the order of its bytes, the same on every server whatever its locale, so that a
-- caller can merge them with a list of its own. The unique index serves both; equality is by bytes either way.
-- Locks: ledger_entry for writing, for as long as the index takes to build.
DROP INDEX ledger_entry_event_once;
CREATE UNIQUE INDEX ledger_entry_event_once ON ledger_entry (event_id COLLATE "C") WHERE kind = 'spend';
