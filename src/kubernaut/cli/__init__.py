"""Arguments to configuration to service."""
