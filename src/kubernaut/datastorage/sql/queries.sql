-- Every statement that DataStorage sends. A name, a sentence, named parameters; see queries.py.

-- name: try_lock_migrations
-- One migrator at a time; held until the session ends. Whoever waited within the statement would keep the one that works
-- from building an index beside running transactions, of which it would be one.
SELECT pg_try_advisory_lock(hashtext('kubernaut.migrations')) AS is_locked;

-- name: create_migrations_table
-- What has been applied, and the hash of its text.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied_migrations
SELECT version, checksum FROM schema_migrations ORDER BY version;

-- name: remember_migration
INSERT INTO schema_migrations (version, name, checksum) VALUES (:version, :name, :checksum);

-- name: is_partitioned
-- Whether a table has partitions.
SELECT relkind = 'p' AS is_partitioned FROM pg_class WHERE oid = :relation::text::regclass;

-- name: index_state
-- Whether an index is complete; no row when there is none of that name.
SELECT indisvalid AS is_valid FROM pg_index WHERE indexrelid = to_regclass(:index::text);

-- name: unindexed_partition
-- The first partition without its part of a partitioned index, and the definition of that part.
SELECT parts.inhrelid::regclass::text AS partition,
       substring(pg_get_indexdef(whole.indexrelid) FROM ' (USING .*)') AS definition
  FROM pg_index AS whole JOIN pg_inherits AS parts ON parts.inhparent = whole.indrelid
 WHERE whole.indexrelid = :index::text::regclass
   AND NOT EXISTS (SELECT FROM pg_inherits AS attached JOIN pg_index AS part ON part.indexrelid = attached.inhrelid
                    WHERE attached.inhparent = whole.indexrelid AND part.indrelid = parts.inhrelid)
 ORDER BY 1 LIMIT 1;

-- name: unattached_indexes
-- Indexes of partitions that lack their part of a partitioned index and have one like it: just built, or left by a build
-- that was interrupted, which is not valid.
SELECT part.indexrelid::regclass::text AS name, part.indisvalid AS is_valid
  FROM pg_index AS whole
  JOIN pg_inherits AS parts ON parts.inhparent = whole.indrelid
  JOIN pg_index AS part ON part.indrelid = parts.inhrelid
 WHERE whole.indexrelid = :index::text::regclass
   AND substring(pg_get_indexdef(part.indexrelid) FROM ' (USING .*)')
       = substring(pg_get_indexdef(whole.indexrelid) FROM ' (USING .*)')
   AND NOT EXISTS (SELECT FROM pg_inherits AS attached JOIN pg_index AS other ON other.indexrelid = attached.inhrelid
                    WHERE attached.inhparent = whole.indexrelid AND other.indrelid = parts.inhrelid)
 ORDER BY 1;

-- name: write_obstacles
-- What would keep an append waiting or make it fail: a read-only server or session, or a lock of somebody else. The
-- locks are those that exclude writing; a partition counts only where new events go.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only,
       EXISTS (SELECT FROM pg_locks
                WHERE locktype = 'relation' AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                  AND relation IN ('audit_events'::regclass, 'audit_ledger'::regclass, 'audit_trees'::regclass,
                                   to_regclass('audit_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')))
              ) AS is_locked;

-- name: foreign_objects
-- What on our tables is not ours and could change, discard or hide rows, or lose them in a crash. A trigger of a
-- partitioned table is named once, and not for its partitions.
WITH ours AS (
    SELECT oid, relname, relrowsecurity, relpersistence FROM pg_class
     WHERE oid IN (SELECT to_regclass(name) FROM unnest(ARRAY[
                       'audit_events', 'audit_ledger', 'audit_trees', 'audit_tiles', 'audit_conflicts',
                       'audit_checkpoints', 'audit_cosignatures', 'audit_expired', 'audit_legal_holds',
                       'audit_legal_hold_releases', 'audit_settings']) AS name)
        OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('audit_events')))
SELECT 'trigger' AS kind, relname::text AS table, tgname::text AS name
  FROM pg_trigger JOIN ours ON ours.oid = tgrelid
 WHERE NOT tgisinternal AND tgparentid = 0 AND tgenabled IN ('O', 'A')
   AND tgfoid IS DISTINCT FROM to_regproc('audit_refuse_change')
UNION ALL
SELECT 'rule', relname, rulename FROM pg_rewrite JOIN ours ON ours.oid = ev_class WHERE ev_enabled IN ('O', 'A')
UNION ALL
SELECT 'row-level security', relname,
       coalesce((SELECT string_agg(polname, ', ' ORDER BY polname) FROM pg_policy WHERE polrelid = ours.oid), '')
  FROM ours WHERE relrowsecurity
UNION ALL
SELECT 'column type', relname, format('%s of %s', format_type(atttypid, atttypmod), attname)
  FROM pg_attribute JOIN ours ON ours.oid = attrelid
 WHERE attnum > 0 AND NOT attisdropped
   AND (atttypid = 'bpchar'::regtype OR (atttypid = 'timestamptz'::regtype AND atttypmod <> -1))
UNION ALL
SELECT 'unlogged table', relname, '' FROM ours WHERE relpersistence <> 'p'
 ORDER BY 2, 1, 3;

-- name: months
-- The first day of every month that has a partition.
SELECT to_date(substr(inhrelid::regclass::text, length('audit_events_') + 1), 'YYYY_MM') AS month
  FROM pg_inherits
 WHERE inhparent = 'audit_events'::regclass AND inhrelid::regclass::text ~ '^audit_events_\d{4}_\d{2}$';

-- name: partitions
-- The first day of every month that has a partition attached; year 1 stands for the one that old events share.
SELECT CASE WHEN name = 'audit_events_before_2020' THEN '0001-01-01'::date
            ELSE to_date(substr(name, length('audit_events_') + 1), 'YYYY_MM') END AS month
  FROM (SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit_events'::regclass) AS attached
 WHERE name ~ '^audit_events_(\d{4}_\d{2}|before_2020)$';

-- name: spans_with_events
-- Which of these spans of time the ledger has events of, by number; those whose payloads were removed do not count.
-- Counted, because a search for the first one would make the planner read the whole ledger for a span that has none.
SELECT span.number
  FROM unnest(:since::timestamptz[], :until::timestamptz[]) WITH ORDINALITY AS span (since, until, number)
 WHERE (SELECT count(*) FROM audit_ledger
         WHERE event_timestamp >= span.since AND event_timestamp < span.until
           AND NOT EXISTS (SELECT FROM audit_expired AS expired
                            WHERE expired.shard = audit_ledger.shard
                              AND expired.sequence = audit_ledger.sequence)) > 0;

-- name: ensure_month
-- Make the partition of a month unless it is there; true when it was made now.
SELECT audit_events_ensure_month(:month::date);

-- name: lock_ledger
-- Serialises the appends of one ledger until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('kubernaut.audit_ledger'), :shard::integer);

-- name: ledger_head
-- The head of one ledger's tree, and the sequence of its newest row. The caller holds the ledger's lock.
SELECT trees.size, trees.frontier,
       coalesce((SELECT sequence FROM audit_ledger WHERE audit_ledger.shard = wanted.shard
                  ORDER BY sequence DESC LIMIT 1), 0) AS sequence
  FROM (SELECT :shard::smallint AS shard) AS wanted
  LEFT JOIN audit_trees AS trees USING (shard);

-- name: write_tree_head
-- The head of one ledger's tree after an append. The caller holds the ledger's lock.
INSERT INTO audit_trees (shard, size, root, frontier) VALUES (:shard, :size, :root, :frontier)
    ON CONFLICT (shard) DO UPDATE SET size = excluded.size, root = excluded.root, frontier = excluded.frontier;

-- name: tree_head
-- Size and root of one ledger's tree.
SELECT size, root FROM audit_trees WHERE shard = :shard;

-- name: tree_heads
-- Size and root of every ledger's tree.
SELECT shard, size, root FROM audit_trees;

-- name: tree_rows
-- Rows of one ledger without their payloads.
SELECT shard, sequence, event_id, correlation_id, event_timestamp, received_at, late,
       content_hash, previous_event_hash, event_hash, link_hash, format, leaf_hash
  FROM audit_ledger
 WHERE shard = :shard AND sequence > :after AND sequence <= :until
 ORDER BY sequence;

-- name: leaf_hashes
-- Leaves of one ledger as its rows have them; rows of format 1 have none.
SELECT sequence, leaf_hash FROM audit_ledger
 WHERE shard = :shard AND sequence > :after AND sequence <= :until ORDER BY sequence;

-- name: tile_roots
-- The roots of full tiles of one level from an index on, which are hashes of the tile above.
SELECT index, root FROM audit_tiles
 WHERE shard = :shard AND level = :level AND index >= :first AND index < :end
 ORDER BY index;

-- name: tiles
-- Full tiles of one level by their indexes.
SELECT index, hashes FROM audit_tiles
 WHERE shard = :shard AND level = :level AND index = ANY(:indexes::bigint[]);

-- name: tiles_of_levels
-- Full tiles of several levels, each by its level and index.
SELECT level, index, hashes
  FROM audit_tiles JOIN unnest(:levels::smallint[], :indexes::bigint[]) AS wanted (level, index) USING (level, index)
 WHERE shard = :shard;

-- name: stored_ids
-- Which of these events are in the ledger, and with what content.
SELECT event_id, content_hash FROM audit_ledger WHERE event_id = ANY(:event_ids::uuid[]);

-- name: correlation_heads
-- Hash of the newest event of each of these correlations. The caller holds the lock of their ledger. No condition on
-- the shard: with one, the planner may walk the whole ledger backwards for a correlation that is not there.
SELECT wanted.correlation_id, head.event_hash
  FROM unnest(:correlation_ids::text[]) AS wanted (correlation_id)
 CROSS JOIN LATERAL (
       SELECT event_hash FROM audit_ledger
        WHERE audit_ledger.correlation_id = wanted.correlation_id
        ORDER BY sequence DESC LIMIT 1) AS head;

-- name: stored_ids_and_correlation_heads
-- What stored_ids and correlation_heads return, in one answer.
SELECT event_id, NULL AS correlation_id, content_hash AS hash
  FROM audit_ledger WHERE event_id = ANY(:event_ids::uuid[])
UNION ALL
SELECT NULL, wanted.correlation_id, head.event_hash
  FROM unnest(:correlation_ids::text[]) AS wanted (correlation_id)
 CROSS JOIN LATERAL (
       SELECT event_hash FROM audit_ledger
        WHERE audit_ledger.correlation_id = wanted.correlation_id
        ORDER BY sequence DESC LIMIT 1) AS head;

-- name: append_if_head
-- Append a group, if the ledger has the expected head and nobody holds its lock; says whether it was appended. The
-- update waits for whoever is changing the head and then looks at it again. Whoever appends rows without changing the
-- head, as old versions do, took the next sequence, which is unique. Whoever discards rows by a trigger makes the cast
-- at the end fail, and with it the whole statement. Where a trigger or the type of a column could change what is stored,
-- nothing is appended: this statement cannot see what became of its rows.
WITH head AS (
    UPDATE audit_trees SET size = :size::bigint, root = :root::bytea, frontier = :frontier::bytea
     WHERE shard = :shard::smallint AND size = :expected_size::bigint AND frontier = :expected_frontier::bytea
       AND (SELECT sequence FROM audit_ledger WHERE audit_ledger.shard = :shard::smallint
             ORDER BY sequence DESC LIMIT 1) = :expected_size::bigint
       AND pg_try_advisory_xact_lock(hashtext('kubernaut.audit_ledger'), :shard::integer)
       AND NOT EXISTS (SELECT FROM pg_trigger
                        WHERE NOT tgisinternal AND tgfoid IS DISTINCT FROM to_regproc('audit_refuse_change')
                          AND tgrelid::regclass::text ~ '^audit_')
       AND NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid IN ('audit_events'::regclass, 'audit_ledger'::regclass) AND attnum > 0
                          AND (atttypid = 'bpchar'::regtype OR (atttypid = 'timestamptz'::regtype AND atttypmod <> -1)))
    RETURNING shard),
payloads AS (
    INSERT INTO audit_events
          (event_id, event_version, event_timestamp, event_type, event_category, event_action, event_outcome,
           actor_type, actor_id, actor_ip, resource_type, resource_id, resource_name, correlation_id,
           parent_event_id, trace_id, span_id, namespace, cluster_id, event_data, severity, duration_ms, error_code,
           error_message, retention_days, is_sensitive)
    SELECT * FROM unnest(
           :event_id::uuid[], :event_version::text[], :event_timestamp::timestamptz[], :event_type::text[],
           :event_category::text[], :event_action::text[], :event_outcome::text[], :actor_type::text[],
           :actor_id::text[], :actor_ip::inet[], :resource_type::text[], :resource_id::text[],
           :resource_name::text[], :correlation_id::text[], :parent_event_id::uuid[], :trace_id::text[],
           :span_id::text[], :namespace::text[], :cluster_id::text[], :event_data::jsonb[], :severity::text[],
           :duration_ms::integer[], :error_code::text[], :error_message::text[], :retention_days::integer[],
           :is_sensitive::boolean[]) AS event
     WHERE EXISTS (SELECT FROM head)
    RETURNING 1),
ledger AS (
    INSERT INTO audit_ledger
          (shard, sequence, event_timestamp, received_at, event_id, late, content_hash, previous_event_hash,
           event_hash, correlation_id, format, leaf_hash)
    SELECT :shard::smallint, row.* FROM unnest(
           :sequence::bigint[], :event_timestamp::timestamptz[], :received_at::timestamptz[], :event_id::uuid[],
           :late::boolean[], :content_hash::bytea[], :previous_event_hash::bytea[], :event_hash::bytea[],
           :correlation_id::text[], :format::smallint[], :leaf_hash::bytea[]) AS row
     WHERE EXISTS (SELECT FROM head)
    RETURNING 1),
tiles AS (
    INSERT INTO audit_tiles (shard, level, index, hashes, root)
    SELECT :shard::smallint, tile.*
      FROM unnest(:tile_level::smallint[], :tile_index::bigint[], :tile_hashes::bytea[], :tile_root::bytea[]) AS tile
     WHERE EXISTS (SELECT FROM head)
    RETURNING 1),
stored AS (
    SELECT (SELECT count(*) FROM payloads) AS payloads, (SELECT count(*) FROM ledger) AS rows,
           (SELECT count(*) FROM tiles) AS tiles)
SELECT CASE WHEN NOT EXISTS (SELECT FROM head) THEN false
            WHEN (payloads, rows, tiles)
               = (cardinality(:event_id::uuid[]), cardinality(:sequence::bigint[]), cardinality(:tile_level::smallint[]))
            THEN true
            ELSE format('stored %s payloads, %s ledger rows and %s tiles', payloads, rows, tiles)::boolean
       END AS is_appended
  FROM stored;

-- name: keep_conflict
-- Evidence of an attempt to store other content under a taken id.
INSERT INTO audit_conflicts
       (received_at, event_id, correlation_id, stored_content_hash, refused_content_hash, refused_event)
VALUES (:received_at, :event_id, :correlation_id, :stored_content_hash, :refused_content_hash, :refused_event::jsonb);

-- name: events_page
-- One page of the newest :window events that match, newest first. A filter that is null does not filter; the planner
-- sees the values and drops it. The row of the ledger is looked up for each event before the limit counts it, so that a
-- row which no ledger has is never shown and leaves no gap; LIMIT 1 keeps the planner from joining the whole ledger.
-- Events are put into order before that: the newest ones are more than the planner has heard of, and it would look up
-- all of them and sort afterwards. A detail is compared at last, because it says nothing about how many match.
SELECT event.*, ledger.*
  FROM (SELECT * FROM audit_events
         WHERE (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
           AND (:event_type::text IS NULL OR event_type = :event_type::text)
           AND (:event_category::text IS NULL OR event_category = :event_category::text)
           AND (:event_outcome::text IS NULL OR event_outcome = :event_outcome::text)
           AND (:severity::text IS NULL OR severity = :severity::text)
           AND (:resource_type::text IS NULL OR resource_type = :resource_type::text)
           AND (:resource_id::text IS NULL OR resource_id = :resource_id::text)
           AND (:actor_type::text IS NULL OR actor_type = :actor_type::text)
           AND (:actor_id::text IS NULL OR actor_id = :actor_id::text)
           AND (:namespace::text IS NULL OR namespace = :namespace::text)
           AND (:parent_event_id::uuid IS NULL OR parent_event_id = :parent_event_id::uuid)
           AND (:detail_text::jsonb IS NULL
                OR ((event_data @> :detail_text::jsonb OR event_data @> :detail_json::jsonb)
                    AND event_data ->> :detail_key::text = :detail_value::text))
           AND (:since::timestamptz IS NULL OR event_timestamp >= :since::timestamptz)
           AND (:until::timestamptz IS NULL OR event_timestamp <= :until::timestamptz)
           AND (:before_time::timestamptz IS NULL
                OR (event_timestamp, event_id) < (:before_time::timestamptz, :before_id::uuid))
         ORDER BY event_timestamp DESC, event_id DESC
         LIMIT :window::bigint) AS event
 CROSS JOIN LATERAL (
       SELECT shard, sequence, received_at, late, content_hash, previous_event_hash, event_hash, link_hash
         FROM audit_ledger AS row
        WHERE row.event_id = event.event_id AND row.event_timestamp = event.event_timestamp
        LIMIT 1) AS ledger
 WHERE (:detail_key::text IS NULL OR event_data ->> :detail_key::text = :detail_value::text)
 ORDER BY event_timestamp DESC, event_id DESC
 LIMIT :limit::bigint OFFSET :offset::bigint;

-- name: events_exceed
-- Whether more than :window events match.
SELECT EXISTS (
        SELECT FROM audit_events
         WHERE (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
           AND (:event_type::text IS NULL OR event_type = :event_type::text)
           AND (:event_category::text IS NULL OR event_category = :event_category::text)
           AND (:event_outcome::text IS NULL OR event_outcome = :event_outcome::text)
           AND (:severity::text IS NULL OR severity = :severity::text)
           AND (:resource_type::text IS NULL OR resource_type = :resource_type::text)
           AND (:resource_id::text IS NULL OR resource_id = :resource_id::text)
           AND (:actor_type::text IS NULL OR actor_type = :actor_type::text)
           AND (:actor_id::text IS NULL OR actor_id = :actor_id::text)
           AND (:namespace::text IS NULL OR namespace = :namespace::text)
           AND (:parent_event_id::uuid IS NULL OR parent_event_id = :parent_event_id::uuid)
           AND (:detail_text::jsonb IS NULL
                OR ((event_data @> :detail_text::jsonb OR event_data @> :detail_json::jsonb)
                    AND event_data ->> :detail_key::text = :detail_value::text))
           AND (:since::timestamptz IS NULL OR event_timestamp >= :since::timestamptz)
           AND (:until::timestamptz IS NULL OR event_timestamp <= :until::timestamptz)
           AND (:before_time::timestamptz IS NULL
                OR (event_timestamp, event_id) < (:before_time::timestamptz, :before_id::uuid))
         ORDER BY event_timestamp DESC, event_id DESC
         OFFSET :window::bigint LIMIT 1);

-- name: newest_events_count
-- How many of the newest :window events that match have a detail.
SELECT count(*)
  FROM (SELECT event_data FROM audit_events
         WHERE (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
           AND (:event_type::text IS NULL OR event_type = :event_type::text)
           AND (:event_category::text IS NULL OR event_category = :event_category::text)
           AND (:event_outcome::text IS NULL OR event_outcome = :event_outcome::text)
           AND (:severity::text IS NULL OR severity = :severity::text)
           AND (:resource_type::text IS NULL OR resource_type = :resource_type::text)
           AND (:resource_id::text IS NULL OR resource_id = :resource_id::text)
           AND (:actor_type::text IS NULL OR actor_type = :actor_type::text)
           AND (:actor_id::text IS NULL OR actor_id = :actor_id::text)
           AND (:namespace::text IS NULL OR namespace = :namespace::text)
           AND (:parent_event_id::uuid IS NULL OR parent_event_id = :parent_event_id::uuid)
           AND (:since::timestamptz IS NULL OR event_timestamp >= :since::timestamptz)
           AND (:until::timestamptz IS NULL OR event_timestamp <= :until::timestamptz)
         ORDER BY event_timestamp DESC, event_id DESC
         LIMIT :window::bigint) AS event
 WHERE event_data ->> :detail_key::text = :detail_value::text;

-- name: events_count
-- How many rows match, counting no further than :max_count. The ledger is not asked: 10,000 look-ups would take longer
-- than everything else of a query.
SELECT count(*) FROM (
    SELECT FROM audit_events
     WHERE (:correlation_id::text IS NULL OR correlation_id = :correlation_id::text)
       AND (:event_type::text IS NULL OR event_type = :event_type::text)
       AND (:event_category::text IS NULL OR event_category = :event_category::text)
       AND (:event_outcome::text IS NULL OR event_outcome = :event_outcome::text)
       AND (:severity::text IS NULL OR severity = :severity::text)
       AND (:resource_type::text IS NULL OR resource_type = :resource_type::text)
       AND (:resource_id::text IS NULL OR resource_id = :resource_id::text)
       AND (:actor_type::text IS NULL OR actor_type = :actor_type::text)
       AND (:actor_id::text IS NULL OR actor_id = :actor_id::text)
       AND (:namespace::text IS NULL OR namespace = :namespace::text)
       AND (:parent_event_id::uuid IS NULL OR parent_event_id = :parent_event_id::uuid)
       AND (:detail_key::text IS NULL OR event_data ->> :detail_key::text = :detail_value::text)
       AND (:detail_text::jsonb IS NULL OR event_data @> :detail_text::jsonb OR event_data @> :detail_json::jsonb)
       AND (:since::timestamptz IS NULL OR event_timestamp >= :since::timestamptz)
       AND (:until::timestamptz IS NULL OR event_timestamp <= :until::timestamptz)
     LIMIT :max_count::bigint) AS matching;

-- name: event_type_exists
-- Whether any event has this type.
SELECT EXISTS (SELECT FROM audit_events WHERE event_type = :event_type::text);

-- name: timeline
-- The events of one correlation in the order of the ledger.
SELECT events.*, ledger.shard, ledger.sequence, ledger.received_at, ledger.late, ledger.content_hash,
       ledger.previous_event_hash, ledger.event_hash, ledger.link_hash
  FROM audit_ledger AS ledger JOIN audit_events AS events USING (event_id, event_timestamp)
 WHERE ledger.correlation_id = :correlation_id AND ledger.sequence > :after
 ORDER BY ledger.sequence
 LIMIT :limit;

-- name: timeline_keys
-- What the causal order of one correlation is decided by, in the order of the ledger.
SELECT ledger.sequence, events.event_id, events.event_timestamp, events.event_type, events.parent_event_id
  FROM audit_ledger AS ledger JOIN audit_events AS events USING (event_id, event_timestamp)
 WHERE ledger.correlation_id = :correlation_id
 ORDER BY ledger.sequence
 LIMIT :limit;

-- name: timeline_events
-- These events of one correlation.
SELECT events.*, ledger.shard, ledger.sequence, ledger.received_at, ledger.late, ledger.content_hash,
       ledger.previous_event_hash, ledger.event_hash, ledger.link_hash
  FROM audit_ledger AS ledger JOIN audit_events AS events USING (event_id, event_timestamp)
 WHERE ledger.correlation_id = :correlation_id AND ledger.sequence = ANY(:sequences::bigint[]);

-- name: ledger_shards
-- Every ledger that has rows.
WITH RECURSIVE shards AS (
    (SELECT shard FROM audit_ledger ORDER BY shard LIMIT 1)
    UNION ALL
    SELECT (SELECT shard FROM audit_ledger WHERE audit_ledger.shard > shards.shard ORDER BY shard LIMIT 1)
      FROM shards WHERE shards.shard IS NOT NULL
)
SELECT shard FROM shards WHERE shard IS NOT NULL;

-- name: ledger_lines
-- Rows of one ledger with their payloads as texts, in the order that ledger_lines.py expects. Functions are named with
-- their schema, so that none of another schema takes their place.
SELECT row.sequence, row.event_id, row.event_timestamp, row.received_at, row.late,
       pg_catalog.encode(row.content_hash, 'base64'), pg_catalog.encode(row.previous_event_hash, 'base64'),
       pg_catalog.encode(row.event_hash, 'base64'), CASE WHEN row.link_hash IS NULL THEN row.format END,
       pg_catalog.encode(row.leaf_hash, 'base64'),
       row.correlation_id,
       events.actor_id, events.actor_type, events.correlation_id, events.event_action, events.event_category,
       events.event_outcome, events.event_type, events.resource_id, events.resource_type, events.severity,
       events.event_version,
       events.event_data,
       pg_catalog.to_json(events.actor_ip), pg_catalog.to_json(events.cluster_id), events.duration_ms,
       pg_catalog.to_json(events.error_code), pg_catalog.to_json(events.error_message), events.is_sensitive,
       pg_catalog.to_json(events.namespace), pg_catalog.to_json(events.parent_event_id),
       pg_catalog.to_json(events.resource_name), events.retention_days,
       pg_catalog.to_json(events.span_id), pg_catalog.to_json(events.trace_id)
  FROM (SELECT * FROM audit_ledger
         WHERE shard = :shard AND sequence > :after AND sequence <= :until ORDER BY sequence) AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id
 ORDER BY row.sequence;

-- name: ledger_rows
-- Rows of one ledger with their payloads, which may be gone.
SELECT row.sequence, row.shard, row.event_id AS row_event_id, row.correlation_id AS row_correlation_id,
       row.event_timestamp AS row_event_timestamp, row.received_at, row.late,
       row.content_hash, row.previous_event_hash, row.event_hash, row.link_hash, row.format, row.leaf_hash,
       events.*
  FROM (SELECT * FROM audit_ledger
         WHERE shard = :shard AND sequence > :after AND sequence <= :until ORDER BY sequence) AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id
 ORDER BY row.sequence;

-- name: rows_of_events
-- Rows of some events with their payloads, which may be gone.
SELECT row.sequence, row.shard, row.event_id AS row_event_id, row.correlation_id AS row_correlation_id,
       row.event_timestamp AS row_event_timestamp, row.received_at, row.late,
       row.content_hash, row.previous_event_hash, row.event_hash, row.link_hash, row.format, row.leaf_hash,
       events.*
  FROM (SELECT * FROM audit_ledger WHERE event_id = ANY(:ids::uuid[])) AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id;

-- name: ledger_link
-- The newest link of the hash chain from before the tree, up to a sequence; there may be none.
SELECT link_hash FROM audit_ledger WHERE shard = :shard AND sequence <= :until ORDER BY sequence DESC LIMIT 1;

-- name: full_tiles
-- Full tiles of one level from an index on, with the roots over them.
SELECT index, hashes, root FROM audit_tiles
 WHERE shard = :shard AND level = :level AND index >= :first AND index < :end;

-- name: tree_frontier
-- The perfect subtrees of one ledger's tree, by which appends go on.
SELECT frontier FROM audit_trees WHERE shard = :shard;

-- name: marked_tiles
-- Which rows of one ledger, behind a sequence and up to another, are marked as removed; by tile, and by what marks say.
SELECT (sequence - 1) / 256 AS tile, operation_id, reason, expired_at, array_agg(sequence ORDER BY sequence) AS sequences,
       array_agg(event_id::text ORDER BY sequence) AS event_ids
  FROM audit_expired WHERE shard = :shard AND sequence > :after AND sequence <= :until
 GROUP BY tile, operation_id, reason, expired_at;

-- name: count_payloads
-- How many payloads there are.
SELECT count(*) AS total FROM audit_events;

-- name: export_snapshot
-- A name by which other sessions see what this transaction sees.
SELECT pg_catalog.pg_export_snapshot() AS snapshot;

-- name: use_snapshot
-- See what the transaction with this snapshot sees.
SET TRANSACTION SNAPSHOT :snapshot;

-- name: correlation_rows
-- The next rows of one correlation with their payloads, which may be gone.
SELECT row.sequence, row.shard, row.event_id AS row_event_id, row.correlation_id AS row_correlation_id,
       row.event_timestamp AS row_event_timestamp, row.received_at, row.late,
       row.content_hash, row.previous_event_hash, row.event_hash, row.link_hash, row.format, row.leaf_hash,
       events.*
  FROM (SELECT * FROM audit_ledger
         WHERE correlation_id = :correlation_id AND sequence > :after ORDER BY sequence LIMIT :limit) AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id
 ORDER BY row.sequence;

-- name: ledger_sequences
-- The sequences of the same rows as ledger_rows returns.
SELECT sequence FROM audit_ledger
 WHERE shard = :shard AND sequence > :after AND sequence <= :until ORDER BY sequence;

-- name: correlation_sequences
-- The sequences of the same rows as correlation_rows returns.
SELECT sequence FROM audit_ledger
 WHERE correlation_id = :correlation_id AND sequence > :after ORDER BY sequence LIMIT :limit;

-- name: ledger_count
-- How many rows a ledger has up to a sequence.
SELECT count(*) FROM audit_ledger WHERE shard = :shard AND sequence <= :until;

-- name: orphan_events
-- Rows of audit_events that no ledger knows.
SELECT events.tableoid::regclass::text AS partition, events.event_id, events.correlation_id
  FROM audit_events AS events
 WHERE NOT EXISTS (SELECT FROM audit_ledger AS ledger
                    WHERE ledger.event_id = events.event_id AND ledger.event_timestamp = events.event_timestamp)
 LIMIT :limit;

-- name: stray_tiles
-- Tiles that their tree is too small for.
SELECT tiles.shard || '/' || tiles.level || '/' || tiles.index AS place
  FROM audit_tiles AS tiles LEFT JOIN audit_trees AS trees ON trees.shard = tiles.shard
 WHERE trees.size IS NULL OR tiles.level NOT BETWEEN 0 AND 6 OR tiles.index < 0
    OR tiles.index >= trees.size >> (8 * (tiles.level + 1))
 LIMIT :limit;

-- name: stray_trees
-- Trees of ledgers that have no rows.
SELECT trees.shard::text AS place
  FROM audit_trees AS trees
 WHERE trees.size > 0 AND NOT EXISTS (SELECT FROM audit_ledger AS ledger WHERE ledger.shard = trees.shard)
 LIMIT :limit;

-- name: stray_cosignatures
-- Cosignatures of checkpoints that are not there.
SELECT lines.shard || '/' || lines.size || ' by ' || lines.witness AS place
  FROM audit_cosignatures AS lines
 WHERE NOT EXISTS (SELECT FROM audit_checkpoints AS checkpoints
                    WHERE (checkpoints.shard, checkpoints.size, checkpoints.root) = (lines.shard, lines.size, lines.root))
 LIMIT :limit;

-- name: checkpoint_rows
-- The next checkpoints with the lines of their witnesses.
SELECT shard, size, root, note,
       ARRAY(SELECT witness FROM audit_cosignatures AS lines
              WHERE (lines.shard, lines.size, lines.root) = (checkpoints.shard, checkpoints.size, checkpoints.root)
              ORDER BY witness) AS witnesses,
       ARRAY(SELECT line FROM audit_cosignatures AS lines
              WHERE (lines.shard, lines.size, lines.root) = (checkpoints.shard, checkpoints.size, checkpoints.root)
              ORDER BY witness) AS lines
  FROM audit_checkpoints AS checkpoints
 WHERE (shard, size) > (:shard::smallint, :size::bigint)
 ORDER BY shard, size LIMIT :limit;

-- name: first_rows
-- Some rows of each ledger.
SELECT rows.shard, rows.event_id, rows.correlation_id
  FROM (SELECT DISTINCT shard FROM audit_trees) AS trees
 CROSS JOIN LATERAL (SELECT shard, event_id, correlation_id FROM audit_ledger
                      WHERE audit_ledger.shard = trees.shard ORDER BY sequence LIMIT 16) AS rows;

-- name: has_chained_rows
-- Whether the database is older than the tree.
SELECT EXISTS (SELECT FROM audit_ledger WHERE sequence = 1 AND format = 1) AS has_chained_rows;

-- name: conflict_rows
-- The next refused events, and whether the event whose id they have was erased.
SELECT conflict_id, event_id, correlation_id, stored_content_hash, refused_content_hash, refused_event,
       EXISTS (SELECT FROM audit_ledger AS ledger
                 JOIN audit_expired AS marks ON marks.shard = ledger.shard AND marks.sequence = ledger.sequence
                WHERE ledger.event_id = conflicts.event_id AND marks.reason = 'erasure') AS is_erased
  FROM audit_conflicts AS conflicts
 WHERE conflict_id > :after ORDER BY conflict_id LIMIT :limit;

-- name: altered_conflicts
-- Which of these refused events differ from the event that keeps the attempt, or have none.
SELECT conflicts.conflict_id, ledger.event_id IS NOT NULL AS is_known
  FROM unnest(:conflict_ids::bigint[], :attempts::uuid[]) AS wanted (conflict_id, event_id)
  JOIN audit_conflicts AS conflicts ON conflicts.conflict_id = wanted.conflict_id
  LEFT JOIN audit_ledger AS ledger ON ledger.event_id = wanted.event_id
 WHERE ROW (conflicts.received_at, conflicts.received_at, conflicts.correlation_id)
       IS DISTINCT FROM ROW (ledger.received_at, ledger.event_timestamp, ledger.correlation_id);

-- name: unkept_conflicts
-- Events that keep an attempt whose row among the refused events is not there.
SELECT events.event_id, events.correlation_id, events.event_data
  FROM audit_events AS events
 WHERE events.event_type = 'datastorage.event.conflict'
   AND NOT EXISTS (SELECT FROM audit_conflicts AS conflicts
                    WHERE conflicts.event_id::text = events.event_data ->> 'event_id'
                      AND encode(conflicts.stored_content_hash, 'hex') = events.event_data ->> 'stored_content_hash'
                      AND encode(conflicts.refused_content_hash, 'hex') = events.event_data ->> 'refused_content_hash')
 LIMIT :limit;

-- name: checkpoint_heads
-- Size and root of every signed checkpoint of one ledger.
SELECT size, root FROM audit_checkpoints WHERE shard = :shard ORDER BY size;

-- name: bind_settings
-- Decide once for the database; changes nothing when that was done.
INSERT INTO audit_settings (ledger_shards, ledger_origin) VALUES (:shards, :origin) ON CONFLICT DO NOTHING;

-- name: settings
-- What was decided for the database.
SELECT ledger_shards, ledger_origin FROM audit_settings;

-- name: add_checkpoint
-- A signed checkpoint; another process may have signed the same tree.
INSERT INTO audit_checkpoints (shard, size, root, signed_at, note)
VALUES (:shard, :size, :root, :signed_at, :note) ON CONFLICT DO NOTHING;

-- name: newest_checkpoint
-- The newest checkpoint that enough witnesses have cosigned, and their signature lines.
SELECT note, (SELECT string_agg(line, '' ORDER BY witness) FROM audit_cosignatures AS lines
               WHERE (lines.shard, lines.size, lines.root) = (checkpoints.shard, checkpoints.size, checkpoints.root)) AS cosignatures
  FROM audit_checkpoints AS checkpoints
 WHERE shard = :shard
   AND (:quorum::integer = 0
        OR (SELECT count(*) FROM audit_cosignatures AS lines
             WHERE (lines.shard, lines.size, lines.root) = (checkpoints.shard, checkpoints.size, checkpoints.root)) >= :quorum::integer)
 ORDER BY size DESC LIMIT 1;

-- name: cosigned_by
-- The witnesses of one checkpoint.
SELECT witness FROM audit_cosignatures WHERE shard = :shard AND size = :size AND root = :root;

-- name: add_cosignature
-- The signature line of a witness under a checkpoint.
INSERT INTO audit_cosignatures (shard, size, root, witness, line)
VALUES (:shard, :size, :root, :witness, :line) ON CONFLICT DO NOTHING;

-- name: event_with_row
-- One event with its row of the ledger.
SELECT row.sequence, row.shard, row.event_id AS row_event_id, row.correlation_id AS row_correlation_id,
       row.event_timestamp AS row_event_timestamp, row.received_at, row.late,
       row.content_hash, row.previous_event_hash, row.event_hash, row.link_hash, row.format, row.leaf_hash,
       events.*
  FROM audit_ledger AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id
 WHERE row.event_id = :event_id;

-- name: export_rows
-- The next rows of one ledger that match, with their payloads, which may be gone. A filter that is null does not filter.
SELECT row.sequence, row.shard, row.event_id AS row_event_id, row.correlation_id AS row_correlation_id,
       row.event_timestamp AS row_event_timestamp, row.received_at, row.late,
       row.content_hash, row.previous_event_hash, row.event_hash, row.link_hash, row.format, row.leaf_hash,
       events.*
  FROM audit_ledger AS row
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = row.event_timestamp AND events.event_id = row.event_id
 WHERE row.shard = :shard AND row.sequence > :after AND row.sequence <= :until
   AND (:correlation_id::text IS NULL OR row.correlation_id = :correlation_id::text)
   AND (:event_category::text IS NULL OR events.event_category = :event_category::text)
   AND (:start_time::timestamptz IS NULL OR row.event_timestamp >= :start_time::timestamptz)
   AND (:end_time::timestamptz IS NULL OR row.event_timestamp <= :end_time::timestamptz)
 ORDER BY row.sequence LIMIT :limit;

-- name: lock_lifecycle
-- Serialises holds, retention and erasures until the transaction ends, so that nothing is removed while it is put on hold.
SELECT pg_advisory_xact_lock(hashtext('kubernaut.lifecycle'));

-- name: try_lock_retention
-- One process applies retention at a time; held until the session ends.
SELECT pg_try_advisory_lock(hashtext('kubernaut.retention')) AS locked;

-- name: allow_change_of_events
-- Declare this transaction as maintenance of audit_events.
SET LOCAL kubernaut.allow_change = 'audit_events';

-- name: allow_change_of_conflicts
-- Declare this transaction as maintenance of audit_conflicts.
SET LOCAL kubernaut.allow_change = 'audit_conflicts';

-- name: removable
-- Some events of a period whose retention has ended and that nothing holds.
SELECT * FROM audit_removable(:since, :until, :now) LIMIT :limit;

-- name: removable_in_order
-- All of them in the order of the ledgers.
SELECT * FROM audit_removable(:since, :until, :now) ORDER BY shard, sequence;

-- name: count_period
-- How many events of a period there are, and how many may be removed.
SELECT (SELECT count(*) FROM audit_events WHERE event_timestamp >= :since AND event_timestamp < :until) AS total,
       (SELECT count(*) FROM audit_removable(:since, :until, :now)) AS removable;

-- name: kept_of_period
-- The events of a period that may not be removed.
SELECT event_id FROM audit_events WHERE event_timestamp >= :since AND event_timestamp < :until
EXCEPT SELECT event_id FROM audit_removable(:since, :until, :now);

-- name: truncate_month
-- Remove the rows of a month but those that are kept, as many as are expected.
SELECT audit_events_truncate_month(:month::date, :kept::uuid[], :removed::bigint);

-- name: delete_payloads
-- Remove payloads; the period spares a look into every partition.
DELETE FROM audit_events AS events
 USING unnest(:times::timestamptz[], :event_ids::uuid[]) AS removed (event_timestamp, event_id)
 WHERE events.event_timestamp = removed.event_timestamp AND events.event_id = removed.event_id
   AND events.event_timestamp BETWEEN :since::timestamptz AND :until::timestamptz
RETURNING events.event_id;

-- name: blank_conflicts
-- Remove the refused content of erased events; that there was an attempt, and its hashes, stay. Says how many rows there
-- are and how many were changed.
WITH blanked AS (
    UPDATE audit_conflicts SET refused_event = 'null' WHERE event_id = ANY(:event_ids::uuid[]) RETURNING 1)
SELECT (SELECT count(*) FROM audit_conflicts WHERE event_id = ANY(:event_ids::uuid[])) AS refused,
       (SELECT count(*) FROM blanked) AS blanked;

-- name: marks
-- Which payloads of these rows of one ledger were removed.
SELECT sequence, event_id, operation_id, reason, expired_at FROM audit_expired
 WHERE shard = :shard AND sequence = ANY(:sequences::bigint[]);

-- name: is_marked
-- Does this ledger have any mark?
SELECT EXISTS (SELECT FROM audit_expired WHERE shard = :shard) AS is_marked;

-- name: rows_to_erase
-- The rows of these events, or of one correlation, whose payload is there; with what stands against their erasure.
SELECT ledger.shard, ledger.sequence, ledger.event_id, ledger.event_timestamp, ledger.correlation_id,
       events.event_type, audit_is_held(ledger.correlation_id) AS is_held
  FROM audit_ledger AS ledger
  LEFT JOIN audit_events AS events
    ON events.event_timestamp = ledger.event_timestamp AND events.event_id = ledger.event_id
 WHERE ledger.event_id = ANY(:event_ids::uuid[]) OR ledger.correlation_id = :correlation_id::text
 ORDER BY ledger.shard, ledger.sequence;

-- name: count_correlation
-- How many events a correlation has.
SELECT count(*) AS total FROM audit_ledger WHERE correlation_id = :correlation_id;

-- name: active_hold
-- The hold on a correlation that was not released.
SELECT hold_id, reason, placed_by, placed_at FROM audit_legal_holds AS holds
 WHERE correlation_id = :correlation_id
   AND NOT EXISTS (SELECT FROM audit_legal_hold_releases AS releases WHERE releases.hold_id = holds.hold_id);

-- name: active_holds
-- Every hold that was not released, oldest first, with the number of events that it covers.
SELECT correlation_id, reason, placed_by, placed_at,
       (SELECT count(*) FROM audit_ledger AS ledger WHERE ledger.correlation_id = holds.correlation_id) AS events_affected
  FROM audit_legal_holds AS holds
 WHERE NOT EXISTS (SELECT FROM audit_legal_hold_releases AS releases WHERE releases.hold_id = holds.hold_id)
 ORDER BY placed_at, hold_id;

-- name: add_hold
-- A hold, once its ledger event is appended.
INSERT INTO audit_legal_holds (hold_id, correlation_id, reason, placed_by, placed_at)
VALUES (:hold_id, :correlation_id, :reason, :placed_by, :placed_at);

-- name: add_release
-- The end of a hold, once its ledger event is appended.
INSERT INTO audit_legal_hold_releases (hold_id, release_id, reason, released_by, released_at)
VALUES (:hold_id, :release_id, :reason, :released_by, :released_at);

-- name: recorded_holds
-- Every hold there ever was. A time that Python cannot hold is null, because no event has it.
SELECT hold_id AS operation_id, correlation_id, reason, placed_by AS actor_id,
       CASE WHEN placed_at >= '0001-01-01' AND placed_at < '10000-01-01' THEN placed_at END AS time,
       NULL::uuid AS hold_id
  FROM audit_legal_holds ORDER BY placed_at, hold_id LIMIT :limit;

-- name: recorded_releases
-- Every release of a hold there ever was, with the correlation of the hold as far as that is there. A time that Python
-- cannot hold is null, because no event has it.
SELECT releases.release_id AS operation_id, holds.correlation_id, releases.reason, releases.released_by AS actor_id,
       CASE WHEN released_at >= '0001-01-01' AND released_at < '10000-01-01' THEN released_at END AS time,
       releases.hold_id
  FROM audit_legal_hold_releases AS releases LEFT JOIN audit_legal_holds AS holds USING (hold_id)
 ORDER BY releases.released_at, releases.hold_id LIMIT :limit;

-- name: operation_events
-- The ledger events of one type of operation.
SELECT ledger.event_id, ledger.sequence, ledger.correlation_id
  FROM audit_events AS events
  JOIN audit_ledger AS ledger ON ledger.event_id = events.event_id AND ledger.event_timestamp = events.event_timestamp
 WHERE events.event_type = :event_type::text
 ORDER BY ledger.shard, ledger.sequence LIMIT :limit;

-- name: marks_beyond_ledger
-- Marks of removed rows that no row of the ledger has.
SELECT marks.shard, marks.sequence, marks.event_id FROM audit_expired AS marks
 WHERE NOT EXISTS (SELECT FROM audit_ledger AS ledger
                    WHERE ledger.shard = marks.shard AND ledger.sequence = marks.sequence)
 ORDER BY marks.shard, marks.sequence LIMIT :limit;

-- name: ledger_ranges
-- Where these events stand in the ledgers.
SELECT shard, min(sequence) AS first_sequence, max(sequence) AS last_sequence, count(*) AS count
  FROM audit_ledger WHERE event_id = ANY(:event_ids::uuid[]) GROUP BY shard ORDER BY shard;
