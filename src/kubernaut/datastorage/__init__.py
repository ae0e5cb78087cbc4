"""The record: HTTP contract, intake, ledger and chain, PostgreSQL."""
