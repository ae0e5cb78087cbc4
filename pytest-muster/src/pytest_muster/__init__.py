"""Shared resources once per run, workers alone, and a triage that names the cause."""

from pytest_muster.places import NotReady, Place
from pytest_muster.processes import Process

__all__ = ["NotReady", "Place", "Process"]
