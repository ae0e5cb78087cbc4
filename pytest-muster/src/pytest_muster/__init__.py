"""Shared resources once per run, workers alone, and a triage that names the cause."""
