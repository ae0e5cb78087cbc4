"""Fixtures for test suites that need a Kubernetes API."""
