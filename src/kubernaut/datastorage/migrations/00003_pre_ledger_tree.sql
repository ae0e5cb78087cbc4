-- +goose Up

-- How the row's hashes were made. Format 1 has the hash chain that came before the tree; format 2 has the leaf instead.
-- The code before this migration goes on writing format 1.
ALTER TABLE audit_ledger
    ADD COLUMN format smallint NOT NULL DEFAULT 1,
    ADD COLUMN leaf_hash bytea CONSTRAINT chk_leaf_hash CHECK (length(leaf_hash) = 32),
    ALTER COLUMN link_hash DROP NOT NULL,
    ADD CONSTRAINT chk_format CHECK (CASE format WHEN 1 THEN link_hash IS NOT NULL ELSE leaf_hash IS NOT NULL END);

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

-- +goose Down
DROP TABLE audit_settings;
DROP TABLE audit_cosignatures;
DROP TABLE audit_checkpoints;
DROP TABLE audit_tiles;
DROP TABLE audit_trees;
ALTER TABLE audit_ledger DROP CONSTRAINT chk_format, DROP COLUMN leaf_hash, DROP COLUMN format;
