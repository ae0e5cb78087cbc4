"""Arguments to configuration to service; no logic lives here."""

from kubernaut.cli.app import main

__all__ = ["main"]
