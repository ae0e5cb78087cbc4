"""The dead-letter queue: acknowledged events wait in a Valkey stream while PostgreSQL is unavailable."""
