-- +goose Up

-- Details of events by key and value. Entries wait in a list of 1 MB until they are merged into the index many at a time,
-- which costs a fifth of merging them one by one; each merge delays one write by some tens of milliseconds.
CREATE INDEX idx_audit_events_event_data ON audit_events USING gin (event_data jsonb_path_ops) WITH (gin_pending_list_limit = 1024);

-- +goose Down
DROP INDEX idx_audit_events_event_data;
