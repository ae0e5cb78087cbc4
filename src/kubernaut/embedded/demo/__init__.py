"""A small shop with trouble: objects, one payload of a real Alertmanager, and what must come of it."""
