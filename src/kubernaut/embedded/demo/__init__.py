"""A small shop with incidents: its objects, one Alertmanager payload, and the expected decisions."""
