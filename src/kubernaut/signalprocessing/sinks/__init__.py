"""Finished signals, sent to HTTP receivers as CloudEvents."""
