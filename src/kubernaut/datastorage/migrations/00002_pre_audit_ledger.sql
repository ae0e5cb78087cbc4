-- +goose Up

-- One narrow row per event, for ever: it makes ids idempotent, the order independent of clocks, and outlives the
-- payload. The sequence has no gaps within a shard.
CREATE TABLE audit_ledger (
    sequence bigint NOT NULL CONSTRAINT chk_sequence_positive CHECK (sequence > 0),
    event_timestamp timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    shard smallint NOT NULL DEFAULT 0,
    late boolean NOT NULL,
    content_hash bytea NOT NULL CONSTRAINT chk_content_hash CHECK (length(content_hash) = 32),
    previous_event_hash bytea NOT NULL CONSTRAINT chk_previous_event_hash CHECK (length(previous_event_hash) = 32),
    event_hash bytea NOT NULL CONSTRAINT chk_event_hash CHECK (length(event_hash) = 32),
    link_hash bytea NOT NULL CONSTRAINT chk_link_hash CHECK (length(link_hash) = 32),
    correlation_id varchar(255) COLLATE "C" NOT NULL,
    CONSTRAINT audit_ledger_pkey PRIMARY KEY (shard, sequence),
    CONSTRAINT audit_ledger_event_id_key UNIQUE (event_id)
);
CREATE INDEX idx_audit_ledger_correlation_id ON audit_ledger (correlation_id, sequence);

CREATE TRIGGER audit_ledger_append_only BEFORE UPDATE OR DELETE ON audit_ledger
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_ledger');
CREATE TRIGGER audit_ledger_no_truncate BEFORE TRUNCATE ON audit_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_ledger');

-- Attempts to store other content under an id that is taken; evidence, not an error log.
CREATE TABLE audit_conflicts (
    conflict_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    correlation_id varchar(255) NOT NULL,
    stored_content_hash bytea NOT NULL,
    refused_content_hash bytea NOT NULL,
    refused_event jsonb NOT NULL
);
CREATE INDEX idx_audit_conflicts_event_id ON audit_conflicts (event_id);

-- +goose Down
DROP TABLE audit_conflicts;
DROP TABLE audit_ledger;
