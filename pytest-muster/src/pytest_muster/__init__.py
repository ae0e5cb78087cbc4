"""Shared resources once per run, workers alone, and a triage that names the cause."""

from pytest_muster.leaks.policy import allow_leaks
from pytest_muster.resources.decorators import shared, worker
from pytest_muster.terminal.summary import pending, serial
from pytest_muster.workspace.processes import Process
from pytest_muster.workspace.workspace import NotReady, Workspace

__all__ = ["NotReady", "Process", "Workspace", "allow_leaks", "pending", "serial", "shared", "worker"]
