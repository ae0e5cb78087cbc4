"""From an alert to a decision: phases, enrichment, policy, and the audit events derived from the status."""
