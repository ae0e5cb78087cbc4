-- +goose Up

-- Whether the ledger has events of a month, which decides whether a partition that is not there was lost or never made.
-- Rows arrive nearly in the order of time, so that a few kilobytes of index answer it.
CREATE INDEX idx_audit_ledger_event_timestamp ON audit_ledger USING brin (event_timestamp) WITH (autosummarize = on);

-- +goose Down
DROP INDEX idx_audit_ledger_event_timestamp;
