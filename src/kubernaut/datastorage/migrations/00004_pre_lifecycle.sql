-- +goose Up

-- Legal holds: what they cover is never removed, events that come later included. A release is a row of its own.
-- Both ids are those of the ledger events that say so.
CREATE TABLE audit_legal_holds (
    hold_id uuid NOT NULL CONSTRAINT audit_legal_holds_pkey PRIMARY KEY,
    correlation_id varchar(255) COLLATE "C" NOT NULL,
    reason text NOT NULL,
    placed_by varchar(255) NOT NULL,
    placed_at timestamptz NOT NULL
);
CREATE INDEX idx_audit_legal_holds_correlation_id ON audit_legal_holds (correlation_id);

CREATE TABLE audit_legal_hold_releases (
    hold_id uuid NOT NULL CONSTRAINT audit_legal_hold_releases_pkey PRIMARY KEY,
    release_id uuid NOT NULL,
    reason text NOT NULL,
    released_by varchar(255) NOT NULL,
    released_at timestamptz NOT NULL
);

-- Ledger rows whose payload was removed, by which ledger event (operation_id), and why. Without a row here, or with one
-- that the ledger event does not name, a payload that is not there is a finding.
CREATE TABLE audit_expired (
    shard smallint NOT NULL,
    sequence bigint NOT NULL,
    event_id uuid NOT NULL,
    operation_id uuid NOT NULL,
    expired_at timestamptz NOT NULL,
    reason text NOT NULL CONSTRAINT chk_expired_reason CHECK (reason IN ('retention', 'erasure')),
    CONSTRAINT audit_expired_pkey PRIMARY KEY (shard, sequence)
);

CREATE TRIGGER audit_legal_holds_append_only BEFORE UPDATE OR DELETE ON audit_legal_holds
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_legal_holds');
CREATE TRIGGER audit_legal_holds_no_truncate BEFORE TRUNCATE ON audit_legal_holds
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_legal_holds');
CREATE TRIGGER audit_legal_hold_releases_append_only BEFORE UPDATE OR DELETE ON audit_legal_hold_releases
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_legal_hold_releases');
CREATE TRIGGER audit_legal_hold_releases_no_truncate BEFORE TRUNCATE ON audit_legal_hold_releases
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_legal_hold_releases');
CREATE TRIGGER audit_expired_append_only BEFORE UPDATE OR DELETE ON audit_expired
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_expired');
CREATE TRIGGER audit_expired_no_truncate BEFORE TRUNCATE ON audit_expired
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_expired');

-- +goose StatementBegin
CREATE FUNCTION audit_is_held(correlation text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM audit_legal_holds AS holds
                    WHERE holds.correlation_id = correlation
                      AND NOT EXISTS (SELECT FROM audit_legal_hold_releases AS releases
                                       WHERE releases.hold_id = holds.hold_id))
$$;
-- +goose StatementEnd

-- The events of a period whose retention has ended: their payloads may be removed. Never what is under a legal hold,
-- and never the ledger events by which a removal or a hold is known.
-- +goose StatementBegin
CREATE FUNCTION audit_removable(since timestamptz, until timestamptz, time_of_run timestamptz)
RETURNS TABLE (shard smallint, sequence bigint, event_id uuid, event_timestamp timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT ledger.shard, ledger.sequence, ledger.event_id, ledger.event_timestamp
      FROM audit_events AS events
      JOIN audit_ledger AS ledger ON ledger.event_id = events.event_id AND ledger.event_timestamp = events.event_timestamp
     WHERE events.event_timestamp >= since AND events.event_timestamp < until
       -- Nothing arrives much before its timestamp, so this spares the join for whatever is younger.
       AND events.event_date + events.retention_days <= (time_of_run AT TIME ZONE 'UTC')::date + 1
       AND ledger.received_at + make_interval(hours => 24 * events.retention_days) < time_of_run
       AND events.event_type NOT IN ('datastorage.retention.applied', 'datastorage.erasure.applied',
                                     'datastorage.legal_hold.placed', 'datastorage.legal_hold.released')
       AND NOT audit_is_held(events.correlation_id)
       AND NOT EXISTS (SELECT FROM audit_expired AS marks
                        WHERE marks.shard = ledger.shard AND marks.sequence = ledger.sequence)
$$;
-- +goose StatementEnd

-- Removes all rows of a month but some. By TRUNCATE, which leaves no dead rows and locks this partition only; the
-- partition stays, so that late events still find their place.
-- +goose StatementBegin
CREATE FUNCTION audit_events_truncate_month(month date, kept uuid[], removed bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    child text := 'audit_events_' || to_char(month, 'YYYY_MM');
    stored_columns text;
    found bigint;
BEGIN
    IF current_setting('kubernaut.allow_change', true) IS DISTINCT FROM 'audit_events' THEN
        RAISE EXCEPTION 'audit_events is append-only: TRUNCATE is refused' USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', child);
    EXECUTE format('SELECT count(*) FROM %I', child) INTO found;
    IF found <> removed + cardinality(kept) THEN
        RAISE EXCEPTION '% has % rows; % are to be removed and % kept', child, found, removed, cardinality(kept)
            USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT string_agg(quote_ident(attname), ', ') INTO stored_columns
      FROM pg_attribute
     WHERE attrelid = child::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('CREATE TEMPORARY TABLE audit_events_kept ON COMMIT DROP AS SELECT * FROM %I WHERE event_id = ANY($1)',
                   child) USING kept;
    EXECUTE format('TRUNCATE %I', child);
    EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM audit_events_kept', child, stored_columns, stored_columns);
    DROP TABLE audit_events_kept;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION audit_events_truncate_month(date, uuid[], bigint);
DROP FUNCTION audit_removable(timestamptz, timestamptz, timestamptz);
DROP FUNCTION audit_is_held(text);
DROP TABLE audit_expired;
DROP TABLE audit_legal_hold_releases;
DROP TABLE audit_legal_holds;
