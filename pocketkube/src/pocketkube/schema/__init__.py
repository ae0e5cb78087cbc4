"""Structural schemas: pruning, defaults, validation and CEL rules."""
