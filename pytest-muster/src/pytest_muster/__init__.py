"""Shared resources once per run, workers alone, and a triage that names the cause."""

from pytest_muster.leaks import allow_leaks
from pytest_muster.outcomes import pending, serial
from pytest_muster.places import NotReady, Place
from pytest_muster.processes import Process
from pytest_muster.resources import shared, worker

__all__ = ["NotReady", "Place", "Process", "allow_leaks", "pending", "serial", "shared", "worker"]
