-- The whole schema as the migrations leave it: read this to know the tables. A test compares the two.

-- The payload of every event, one partition per month of UTC. Partitioned by time rather than by date, so that the
-- planner reads a page "newest first" month by month and stops when it is full. No trigger fires before an insert:
-- one would turn bulk loading into single inserts. Indexed texts compare by bytes, because an upgrade of the operating
-- system's collations must not break an index.
CREATE TABLE audit_events (
    event_id uuid NOT NULL,
    event_version varchar(10) NOT NULL DEFAULT '1.0',
    event_timestamp timestamptz NOT NULL,
    event_date date NOT NULL GENERATED ALWAYS AS ((event_timestamp AT TIME ZONE 'UTC')::date) STORED,
    event_type varchar(100) COLLATE "C" NOT NULL,
    event_category varchar(50) COLLATE "C" NOT NULL,
    event_action varchar(50) NOT NULL,
    event_outcome varchar(20) COLLATE "C" NOT NULL,
    actor_type varchar(50) NOT NULL,
    actor_id varchar(255) COLLATE "C" NOT NULL,
    actor_ip inet,
    resource_type varchar(100) NOT NULL,
    resource_id varchar(255) COLLATE "C" NOT NULL,
    resource_name varchar(255),
    correlation_id varchar(255) COLLATE "C" NOT NULL,
    parent_event_id uuid,
    trace_id varchar(255),
    span_id varchar(255),
    namespace varchar(253) COLLATE "C",
    cluster_id varchar(255),
    event_data jsonb NOT NULL,
    severity varchar(20) COLLATE "C" NOT NULL,
    duration_ms integer,
    error_code varchar(50),
    error_message text,
    retention_days integer NOT NULL DEFAULT 2555 CONSTRAINT chk_retention_days_range CHECK (retention_days BETWEEN 1 AND 2555),
    is_sensitive boolean NOT NULL DEFAULT false,
    CONSTRAINT audit_events_pkey PRIMARY KEY (event_timestamp, event_id)
) PARTITION BY RANGE (event_timestamp);

-- The order of an answer is event_timestamp DESC, event_id DESC; each index yields it for one filter.
CREATE INDEX idx_audit_events_correlation_id ON audit_events (correlation_id, event_timestamp);
CREATE INDEX idx_audit_events_event_type ON audit_events (event_type, event_timestamp);
CREATE INDEX idx_audit_events_event_category ON audit_events (event_category, event_timestamp);
-- Nearly every event is a success: those are found by walking the primary key, the others here.
CREATE INDEX idx_audit_events_outcome ON audit_events (event_outcome, event_timestamp) WHERE event_outcome <> 'success';
CREATE INDEX idx_audit_events_severity ON audit_events (severity, event_timestamp);
CREATE INDEX idx_audit_events_resource ON audit_events (resource_id, event_timestamp);
CREATE INDEX idx_audit_events_actor ON audit_events (actor_id, event_timestamp);
CREATE INDEX idx_audit_events_namespace ON audit_events (namespace, event_timestamp) WHERE namespace IS NOT NULL;
CREATE INDEX idx_audit_events_parent ON audit_events (parent_event_id, event_timestamp) WHERE parent_event_id IS NOT NULL;
-- Yields no order: for details that the newest events do not have. Entries wait in a list of 1 MB until they are merged
-- into the index many at a time, which costs a fifth of merging them one by one; each merge delays one write by some tens
-- of milliseconds.
CREATE INDEX idx_audit_events_event_data ON audit_events USING gin (event_data jsonb_path_ops) WITH (gin_pending_list_limit = 1024);

-- Everything older than the system itself shares one partition, so that nobody can make thousands of them.
CREATE TABLE audit_events_before_2020 PARTITION OF audit_events FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00:00+00');

CREATE FUNCTION audit_events_ensure_month(month date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('month', month::timestamp)::date;
    child text := 'audit_events_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF to_regclass(format('%I.%I', current_schema(), child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('kubernaut.audit_events.partitions'));
    IF to_regclass(format('%I.%I', current_schema(), child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Made apart and attached: CREATE … PARTITION OF would lock out every reader and writer.
    EXECUTE format('CREATE TABLE %I (LIKE audit_events INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)', child);
    EXECUTE format(
        'ALTER TABLE audit_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', child,
        first_day::timestamp AT TIME ZONE 'UTC', (first_day + interval '1 month') AT TIME ZONE 'UTC');
    RETURN true;
END
$$;

CREATE FUNCTION audit_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('kubernaut.allow_change', true) = TG_ARGV[0] THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION '% is append-only: % is refused', TG_ARGV[0], TG_OP
        USING ERRCODE = 'check_violation',
              HINT = format('maintenance declares itself with: SET LOCAL kubernaut.allow_change = %L', TG_ARGV[0]);
END
$$;

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_events');
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_events');

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
    link_hash bytea CONSTRAINT chk_link_hash CHECK (length(link_hash) = 32),
    correlation_id varchar(255) COLLATE "C" NOT NULL,
    -- How the hashes were made: format 1 has the hash chain that came before the tree, format 2 has the leaf instead.
    format smallint NOT NULL DEFAULT 1,
    leaf_hash bytea CONSTRAINT chk_leaf_hash CHECK (length(leaf_hash) = 32),
    CONSTRAINT chk_format CHECK (CASE format WHEN 1 THEN link_hash IS NOT NULL ELSE leaf_hash IS NOT NULL END),
    CONSTRAINT audit_ledger_pkey PRIMARY KEY (shard, sequence),
    CONSTRAINT audit_ledger_event_id_key UNIQUE (event_id)
);
CREATE INDEX idx_audit_ledger_correlation_id ON audit_ledger (correlation_id, sequence);
-- Whether the ledger has events of a month, which decides whether a partition that is not there was lost or never made.
CREATE INDEX idx_audit_ledger_event_timestamp ON audit_ledger USING brin (event_timestamp) WITH (autosummarize = on);

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

-- The head of each ledger's Merkle tree: one row a ledger, updated by every append. Half-empty pages let the update
-- stay in its page.
CREATE TABLE audit_trees (
    shard smallint NOT NULL CONSTRAINT audit_trees_pkey PRIMARY KEY,
    size bigint NOT NULL CONSTRAINT chk_tree_size CHECK (size >= 0),
    root bytea NOT NULL CONSTRAINT chk_tree_root CHECK (length(root) = 32),
    frontier bytea NOT NULL CONSTRAINT chk_tree_frontier CHECK (length(frontier) % 32 = 0)
) WITH (fillfactor = 50);

-- Full tiles of 256 hashes, as C2SP tlog-tiles names them, each with the root over them. Hashes do not compress.
CREATE TABLE audit_tiles (
    shard smallint NOT NULL,
    level smallint NOT NULL,
    index bigint NOT NULL,
    root bytea NOT NULL CONSTRAINT chk_tile_root CHECK (length(root) = 32),
    hashes bytea NOT NULL CONSTRAINT chk_tile_hashes CHECK (length(hashes) = 8192),
    CONSTRAINT audit_tiles_pkey PRIMARY KEY (shard, level, index)
);
ALTER TABLE audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TRIGGER audit_tiles_append_only BEFORE UPDATE OR DELETE ON audit_tiles
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_tiles');
CREATE TRIGGER audit_tiles_no_truncate BEFORE TRUNCATE ON audit_tiles
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_tiles');

-- Every checkpoint that was signed, for ever.
CREATE TABLE audit_checkpoints (
    shard smallint NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    signed_at timestamptz NOT NULL,
    note text NOT NULL,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (shard, size)
);

CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change('audit_checkpoints');
CREATE TRIGGER audit_checkpoints_no_truncate BEFORE TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change('audit_checkpoints');

-- Signature lines of witnesses under a checkpoint.
CREATE TABLE audit_cosignatures (
    shard smallint NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    witness text NOT NULL,
    line text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_cosignatures_pkey PRIMARY KEY (shard, size, root, witness)
);

-- What is decided once for a database.
CREATE TABLE audit_settings (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT audit_settings_pkey PRIMARY KEY CONSTRAINT chk_only_row CHECK (only_row),
    ledger_shards smallint NOT NULL CONSTRAINT chk_ledger_shards CHECK (ledger_shards BETWEEN 1 AND 1024),
    ledger_origin text NOT NULL
);

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

CREATE FUNCTION audit_is_held(correlation text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM audit_legal_holds AS holds
                    WHERE holds.correlation_id = correlation
                      AND NOT EXISTS (SELECT FROM audit_legal_hold_releases AS releases
                                       WHERE releases.hold_id = holds.hold_id))
$$;

-- The events of a period whose retention has ended: their payloads may be removed. Never what is under a legal hold,
-- and never the ledger events by which a removal or a hold is known.
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

-- Removes all rows of a month but some. By TRUNCATE, which leaves no dead rows and locks this partition only; the
-- partition stays, so that late events still find their place.
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

-- What has been applied, and the hash of its text.
CREATE TABLE schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
