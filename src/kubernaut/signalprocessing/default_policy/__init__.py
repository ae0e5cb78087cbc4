"""The policy that decides when the operator gives none."""
