"""Builtins of Rego that answer as OPA's do; used in the policy process only."""
