-- +goose Up
CREATE INDEX idx_audit_events_parent ON audit_events (parent_event_id, event_timestamp) WHERE parent_event_id IS NOT NULL;

-- +goose Down
DROP INDEX idx_audit_events_parent;
