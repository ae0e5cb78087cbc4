"""Patches and server-side apply: how a change is computed, and who manages which field."""
