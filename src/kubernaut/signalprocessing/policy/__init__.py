"""The operator's policy: checked before it is used, evaluated in its own process, swapped whole."""
